// A text editor (Ace, which ships with Panel) that knows its own changes from the server's: every text that comes from
// the server has a number, and what is typed is sent with the number it was typed on.
const PAUSE_MS = 250

export function render({ model, el }) {
  const box = document.createElement("div")
  box.style.cssText = `height: ${model.height_px}px; width: 100%`
  const ace = window.ace
  const editor = ace.edit(box)
  const session = editor.session
  // Its own checker knows nothing of suites and would take our marks away.
  session.setUseWorker(false)
  editor.setOptions({ tabSize: 2, useSoftTabs: true, showPrintMargin: false, fontFamily: "monospace",
    enableKeyboardAccessibility: true })
  session.setMode("ace/mode/yaml")
  editor.textInput.getElement().setAttribute("aria-label", "The suite as YAML")

  const theme = () => editor.setTheme(model.dark ? "ace/theme/github_dark" : "ace/theme/github_light_default")
  const marks = () => session.setAnnotations(model.marks.map(([row, text]) => ({ row, column: 0, text, type: "error" })))

  let timer = null
  let taking = false
  const send = () => {
    clearTimeout(timer)
    timer = null
    model.send_msg({ type: "text", text: editor.getValue(), number: model.content.number })
  }
  const take = () => {
    const next = model.content.text
    const old = editor.getValue()
    clearTimeout(timer)
    timer = null
    if (next === old) return
    // Only what differs is replaced, so that cursor, folds and scroll position stay where they are.
    let start = 0
    while (start < old.length && start < next.length && old[start] === next[start]) start++
    let end = 0
    while (end < old.length - start && end < next.length - start && old[old.length - 1 - end] === next[next.length - 1 - end]) end++
    const at = (index) => session.doc.indexToPosition(index, 0)
    taking = true
    try {
      if (!old.length) session.setValue(next)
      else {
        const from = at(start), to = at(old.length - end)
        session.replace({ start: from, end: to }, next.slice(start, next.length - end))
      }
      // Line ends that are mixed cannot be told apart here.
      if (editor.getValue() !== next) session.setValue(next)
    } finally { taking = false }
  }
  session.on("change", () => {
    if (taking) return
    clearTimeout(timer)
    timer = setTimeout(send, PAUSE_MS)
  })
  const now = () => { if (timer !== null) send() }
  editor.on("blur", now)
  // The key that starts the run must not overtake what was typed before it.
  box.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) now() }, true)
  model.on("content", take)
  model.on("marks", marks)
  model.on("dark", theme)
  model.on("spot", () => {
    editor.gotoLine(model.spot.row + 1, 0, true)
    editor.focus()
    box.scrollIntoView({ block: "center", behavior: "instant" })
  })
  model.on("after_render", () => {
    // Its styles go to the root it finds itself in, and only now it is in one.
    editor.renderer.attachToShadowRoot()
    theme()
    editor.resize()
  })
  new ResizeObserver(() => editor.resize()).observe(box)
  take()
  marks()
  return box
}
