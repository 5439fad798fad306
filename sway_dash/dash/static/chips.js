// A row of small buttons: some are on or off, some take themselves away.
export function render({ model }) {
  const row = document.createElement("div")
  row.className = "chips"
  row.setAttribute("role", "group")
  const draw = () => {
    row.setAttribute("aria-label", model.label)
    const held = row.getRootNode().activeElement?.dataset?.key
    row.replaceChildren(...model.items.map(([key, text, count, state]) => {
      const chip = document.createElement("button")
      chip.type = "button"
      chip.dataset.key = key
      const words = document.createElement("span")
      words.className = "words"
      words.dir = "auto"
      words.textContent = text
      chip.append(words)
      const more = state === "remove" ? "✕" : count
      if (more !== "") {
        const end = document.createElement("span")
        end.className = "end"
        end.textContent = more
        chip.append(end)
      }
      if (state === "remove") chip.setAttribute("aria-label", `remove filter: ${text}`)
      else chip.setAttribute("aria-pressed", state === "on")
      chip.addEventListener("click", () => model.send_msg({ key }))
      return chip
    }))
    if (held) row.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus()
  }
  model.on("items", draw)
  model.on("label", draw)
  draw()
  return row
}
