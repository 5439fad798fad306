// The runs of a comparison in a row: which is the baseline, whose prompts are shown, their order.
export function render({ model }) {
  const list = document.createElement("ul")
  list.className = "tokens"
  const button = (what, run, sign, words, pressed) => {
    const b = document.createElement("button")
    b.type = "button"
    b.dataset.key = what + " " + run
    b.textContent = sign
    b.title = words
    b.setAttribute("aria-label", words)
    if (pressed !== undefined) b.setAttribute("aria-pressed", pressed)
    b.addEventListener("click", () => model.send_msg({ what, run }))
    return b
  }
  const draw = () => {
    list.setAttribute("aria-label", model.label)
    const held = list.getRootNode().activeElement?.dataset?.key
    const n = model.items.length
    list.replaceChildren(...model.items.map(([run, letter, name, state, baseline, shown], i) => {
      const item = document.createElement("li")
      item.className = (baseline ? "baseline" : "") + (shown ? " shown" : "")
      const star = button("baseline", run, baseline ? "★" : "☆", baseline ? `${letter} is the baseline` : `Make ${letter} the baseline`, baseline)
      const who = document.createElement("button")
      who.type = "button"
      who.className = "who"
      who.dataset.key = "show " + run
      who.setAttribute("aria-pressed", shown)
      who.title = baseline ? name : `Show the single prompts of ${letter}: ${name}`
      who.disabled = baseline
      const badge = document.createElement("b")
      badge.textContent = letter
      const words = document.createElement("span")
      words.className = "words"
      words.dir = "auto"
      words.textContent = name
      const more = document.createElement("span")
      more.className = "state"
      more.textContent = baseline ? `baseline · ${state}` : state
      who.append(badge, words, more)
      who.addEventListener("click", () => model.send_msg({ what: "show", run }))
      item.append(star, who)
      const left = button("left", run, "◂", `Move ${letter} left`)
      const right = button("right", run, "▸", `Move ${letter} right`)
      left.disabled = i === 0
      right.disabled = i === n - 1
      item.append(left, right, button("open", run, "↗", `Open ${letter}`), button("remove", run, "✕", `Do not compare ${letter}`))
      return item
    }))
    if (held) list.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus()
  }
  model.on("items", draw)
  model.on("label", draw)
  draw()
  return list
}
