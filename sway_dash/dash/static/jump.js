// Takes the reader to what is wrong: a field that is marked, or a line of the editor. Parts that are just being made
// may not be there yet, so it looks again for a while.
const deep = function* (node) {
  for (const child of node.children ?? []) {
    yield child
    if (child.shadowRoot) yield* deep(child.shadowRoot)
    yield* deep(child)
  }
}
const seen = (el) => el.getClientRects().length > 0

export function render({ model }) {
  let turn = 0
  const mark = () => {
    for (const el of deep(document.body)) {
      if (seen(el) && (el.getAttribute("aria-invalid") === "true" || el.hasAttribute("data-problem"))) return el
    }
    return null
  }
  const line = (row) => {
    for (const el of deep(document.body)) {
      const editor = el.env?.editor
      if (editor && seen(el)) {
        editor.gotoLine(row + 1, 0, true)
        editor.focus()
        return el
      }
    }
    return null
  }
  const go = () => {
    const { row } = model.target
    const mine = ++turn
    let tries = 0
    const look = () => {
      if (mine !== turn) return
      const el = row === undefined ? mark() : line(row)
      if (el) {
        el.scrollIntoView({ block: "center", behavior: "instant" })
        if (row === undefined) el.focus({ preventScroll: true })
      } else if (tries++ < 30) setTimeout(look, 100)
    }
    // The part that holds it may only now become visible.
    setTimeout(look, 150)
  }
  model.on("target", go)
  return document.createElement("span")
}
