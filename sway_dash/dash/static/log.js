// Lines of a log. Text only, never HTML; lines that were there already stay, so that a selection survives.
export function render({ model }) {
  const list = document.createElement("ol")
  list.className = "sway-log"
  list.tabIndex = 0
  list.setAttribute("aria-label", "Log of the run, newest last")
  let own = false

  const line = ([key, time, iso, level, text, link]) => {
    const item = document.createElement("li")
    item.dataset.key = key
    const when = document.createElement("time")
    when.textContent = time
    when.dateTime = iso
    when.title = iso
    const word = document.createElement("b")
    word.className = level
    word.textContent = level
    const words = document.createElement("span")
    words.textContent = text
    item.append(when, word, words)
    if (link) {
      const button = document.createElement("button")
      button.type = "button"
      button.textContent = link
      button.addEventListener("click", () => model.send_msg({ open: key }))
      item.append(button)
    }
    return item
  }

  const end = () => {
    const bottom = list.scrollHeight - list.clientHeight
    if (!model.follow || Math.abs(list.scrollTop - bottom) < 1) return
    own = true
    list.scrollTop = bottom
  }

  const draw = () => {
    const known = new Map([...list.children].map((item) => [item.dataset.key, item]))
    const wanted = model.lines.map((one) => known.get(one[0]) ?? line(one))
    const same = wanted.length === list.children.length && wanted.every((item, k) => item === list.children[k])
    if (same) return
    const start = wanted.length >= list.children.length && [...list.children].every((item, k) => item === wanted[k])
    if (start) list.append(...wanted.slice(list.children.length))
    else list.replaceChildren(...wanted)
    end()
  }

  list.addEventListener("scroll", () => {
    if (own) { own = false; return }
    const away = list.scrollHeight - list.scrollTop - list.clientHeight > 24
    if (away && model.follow) model.follow = false
  })
  model.on("lines", draw)
  model.on("follow", end)
  model.on("after_render", end)
  draw()
  return list
}
