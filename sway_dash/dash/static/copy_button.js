// Puts a text on the clipboard. The text is asked for only then: it may be long.
export function render({ model }) {
  const button = document.createElement("button")
  button.type = "button"
  const done = document.createElement("span")
  done.setAttribute("role", "status")
  const words = () => { button.textContent = model.label }
  let arrived = () => {}
  model.on("answer", () => arrived(model.text))
  // Where the browser denies the clipboard to a page without TLS: by way of a field that nobody sees.
  const field = (text) => {
    const area = document.createElement("textarea")
    area.value = text
    area.style.position = "fixed"
    area.style.opacity = "0"
    document.body.append(area)
    area.select()
    const ok = document.execCommand("copy")
    area.remove()
    if (!ok) throw new Error("refused")
  }
  let clear = 0
  const say = (text) => {
    done.textContent = text
    clearTimeout(clear)
    clear = setTimeout(() => { done.textContent = "" }, 2500)
  }
  button.addEventListener("click", async () => {
    const text = new Promise((resolve) => { arrived = resolve })
    model.send_msg({ type: "text" })
    try {
      // The promise is handed over at once: a browser allows it only while it handles the click.
      const blob = text.then((t) => new Blob([t], { type: "text/plain" }))
      if (navigator.clipboard && window.ClipboardItem) {
        await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]).catch(async () => field(await text))
      } else field(await text)
      say("copied")
    } catch {
      say("the browser does not allow it")
    }
  })
  model.on("label", words)
  words()
  const root = document.createElement("div")
  root.append(button, done)
  return root
}
