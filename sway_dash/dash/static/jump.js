// Takes the reader to what is wrong: the first field that is marked. Parts that are just being made may not be there
// yet, so it looks again for a while.
const deep = function* (node) {
  for (const child of node.children ?? []) {
    yield child
    if (child.shadowRoot) yield* deep(child.shadowRoot)
    yield* deep(child)
  }
}
const wrong = (el) => el.getAttribute("aria-invalid") === "true" || el.hasAttribute("data-problem")

export function render({ model }) {
  let turn = 0
  model.on("target", () => {
    const mine = ++turn
    let tries = 0
    const look = () => {
      if (mine !== turn) return
      for (const el of deep(document.body)) {
        if (!wrong(el) || !el.getClientRects().length) continue
        el.scrollIntoView({ block: "center", behavior: "instant" })
        el.focus({ preventScroll: true })
        return
      }
      if (tries++ < 30) setTimeout(look, 100)
    }
    // The part that holds it may only now become visible.
    setTimeout(look, 150)
  })
  return document.createElement("span")
}
