// Small buttons in a row, each with a key.
export function render({ model }) {
  const row = document.createElement("div")
  row.className = "buttons"
  row.setAttribute("role", "group")
  const draw = () => {
    row.setAttribute("aria-label", model.label)
    const held = row.getRootNode().activeElement?.dataset?.key
    row.replaceChildren(...model.items.map(([key, text, more]) => {
      const button = document.createElement("button")
      button.type = "button"
      button.dataset.key = key
      const words = document.createElement("span")
      words.className = "words"
      words.dir = "auto"
      words.textContent = text
      button.append(words)
      if (more) {
        const end = document.createElement("span")
        end.className = "more"
        end.textContent = more
        button.append(end)
      }
      button.addEventListener("click", () => model.send_msg({ key }))
      return button
    }))
    if (held) row.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus()
  }
  model.on("items", draw)
  model.on("label", draw)
  draw()
  return row
}
