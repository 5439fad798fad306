// A table of any length: the browser holds the rows in sight and asks for others while it is scrolled.
const ROW = 30
const AHEAD = 20

export function render({ model }) {
  const make = (tag, name, role) => {
    const el = document.createElement(tag)
    if (name) el.className = name
    if (role) el.setAttribute("role", role)
    return el
  }
  const root = make("div", "root")
  const menu = make("details", "columns")
  const summary = make("summary")
  summary.textContent = "Columns"
  const list = make("div", "list")
  menu.append(summary, list)
  const scroll = make("div", "scroll", "grid")
  scroll.tabIndex = 0
  const head = make("div", "head row", "row")
  const spacer = make("div", "spacer")
  const rows = make("div", "rows")
  spacer.append(rows)
  scroll.append(head, spacer)
  if (model.choosable) root.append(menu)
  root.append(scroll)

  const shown = () => model.heads.map((h, i) => [h, i]).filter(([h]) => !model.hidden.includes(h[0]))
  const template = () => shown().map(([h]) => h[2]).join(" ")

  const memory = "sway-columns-" + model.kept
  const recall = () => {
    try {
      const found = JSON.parse(localStorage.getItem(memory) ?? "{}")
      return found !== null && typeof found === "object" ? found : {}
    } catch { return {} }
  }
  const choose = (key, shown) => {
    model.send_msg({ type: "column", key, shown })
    if (!model.kept) return
    try { localStorage.setItem(memory, JSON.stringify({ ...recall(), [key]: shown })) } catch { /* private window */ }
  }

  const drawHead = () => {
    const held = root.getRootNode().activeElement?.dataset?.key
    head.replaceChildren(...shown().map(([[key, title, , right, order]]) => {
      const cell = make("div", right ? "cell right" : "cell", "columnheader")
      const direction = model.sort === order ? "ascending" : model.sort === "-" + order ? "descending" : "none"
      if (!order) {
        cell.textContent = title
        return cell
      }
      cell.setAttribute("aria-sort", direction)
      const button = make("button")
      button.type = "button"
      button.dataset.key = key
      button.textContent = title + ({ ascending: " ↑", descending: " ↓" }[direction] ?? "")
      button.addEventListener("click", () => model.send_msg({ type: "sort", key }))
      cell.append(button)
      return cell
    }))
    if (held) head.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus()
    const columns = template()
    root.style.setProperty("--columns", columns)
    scroll.setAttribute("aria-colcount", shown().length)
    list.replaceChildren(...model.heads.filter((h) => h[1]).map(([key, title]) => {
      const label = make("label")
      const box = make("input")
      box.type = "checkbox"
      box.checked = !model.hidden.includes(key)
      box.addEventListener("change", () => choose(key, box.checked))
      label.append(box, document.createTextNode(" " + title))
      return label
    }))
  }

  const fill = (cell, value) => {
    // A cell is a text, or pieces of text of which every other one is a hit of the search.
    if (!Array.isArray(value)) {
      if (cell.textContent !== value || cell.firstElementChild) cell.textContent = value
      return
    }
    cell.replaceChildren(...value.map((text, i) => {
      if (i % 2 === 0) return document.createTextNode(text)
      const mark = make("mark")
      mark.textContent = text
      return mark
    }))
  }

  const drawRows = () => {
    const columns = shown()
    const { first, rows: data } = model.page
    rows.style.transform = `translateY(${first * ROW}px)`
    while (rows.children.length > data.length) rows.lastElementChild.remove()
    data.forEach(([item, cells], k) => {
      let row = rows.children[k]
      if (!row) {
        row = make("div", "row", "row")
        rows.append(row)
      }
      row.dataset.item = item
      row.setAttribute("aria-rowindex", first + k + 2)
      while (row.children.length > columns.length) row.lastElementChild.remove()
      columns.forEach(([head, at], c) => {
        let cell = row.children[c]
        if (!cell) {
          cell = make("div", "", "gridcell")
          row.append(cell)
        }
        cell.className = head[3] ? "cell right" : "cell"
        cell.dir = head[3] ? "ltr" : "auto"
        fill(cell, cells[at])
      })
    })
    mark()
  }

  const mark = () => {
    for (const row of rows.children) {
      const on = Number(row.dataset.item) === model.active.item
      row.classList.toggle("open", on)
      row.setAttribute("aria-selected", on)
    }
  }

  const visible = () => {
    const height = Math.max(scroll.clientHeight - ROW, ROW)
    return [Math.floor(scroll.scrollTop / ROW), Math.ceil((scroll.scrollTop + height) / ROW)]
  }
  let asked = ""
  const ask = () => {
    const [top, end] = visible()
    const { first, rows: data } = model.page
    const enough = first <= top && first + data.length >= Math.min(end, model.total)
    const count = end - top + 2 * AHEAD
    const wanted = Math.max(0, top - AHEAD)
    const request = `${wanted}/${count}`
    if (enough || request === asked) return
    asked = request
    model.send_msg({ type: "window", first: wanted, count })
  }

  const size = () => {
    spacer.style.height = `${model.total * ROW}px`
    scroll.style.height = `${Math.min((model.total + 1) * ROW + 4, model.height_px)}px`
    scroll.setAttribute("aria-rowcount", model.total + 1)
    scroll.setAttribute("aria-label", model.label)
    root.classList.toggle("empty", model.total === 0)
    ask()
  }

  let opened = model.active.item
  const follow = () => {
    mark()
    const { item, place } = model.active
    // Only when another prompt was opened: new rows must not move what one reads.
    if (item === opened || place < 0) return
    opened = item
    const top = place * ROW
    const height = Math.max(scroll.clientHeight - ROW, ROW)
    if (top < scroll.scrollTop) scroll.scrollTop = top
    else if (top + ROW > scroll.scrollTop + height) scroll.scrollTop = top + ROW - height
  }

  rows.addEventListener("click", (event) => {
    const row = event.target.closest(".row")
    if (row) model.send_msg({ type: "open", item: Number(row.dataset.item) })
  })
  scroll.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (!step || event.target !== scroll) return
    event.preventDefault()
    event.stopPropagation()
    model.send_msg({ type: "step", step })
  })
  let waiting = 0
  scroll.addEventListener("scroll", () => {
    if (waiting) return
    waiting = requestAnimationFrame(() => { waiting = 0; ask() })
  })
  new ResizeObserver(ask).observe(scroll)

  model.on("page", () => { asked = ""; drawRows(); ask() })
  model.on("total", size)
  model.on("label", size)
  model.on("height_px", size)
  model.on("active", follow)
  model.on("sort", drawHead)
  model.on("top", () => { scroll.scrollTop = 0 })
  for (const name of ["hidden", "heads"]) model.on(name, () => { drawHead(); drawRows() })
  drawHead()
  drawRows()
  size()
  const kept = model.kept ? recall() : {}
  if (Object.keys(kept).length) model.send_msg({ type: "columns", shown: kept })
  return root
}
