// A table of any length: the browser holds the rows in sight and asks for others while it is scrolled.
// Pixels of a head and of a row, of one line or of up to three.
const [HEAD, ONE, THREE] = [30, 30, 64]
const AHEAD = 20
// Pixels: the least and the most a column may be wide, how much a key changes it, and how far a head is dragged before
// it is not a click any more.
const [LEAST, MOST, STEP, SLACK] = [36, 1200, 16, 5]

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
  const said = make("span", "said", "status")
  menu.append(summary, list, said)
  const scroll = make("div", "scroll", "grid")
  scroll.tabIndex = 0
  const head = make("div", "head row", "row")
  const spacer = make("div", "spacer")
  const rows = make("div", "rows")
  spacer.append(rows)
  scroll.append(head, spacer)
  if (model.choosable) root.append(menu)
  root.append(scroll)

  const recall = (what) => {
    try {
      const found = JSON.parse(localStorage.getItem(`sway-${what}-${model.kept}`) ?? "{}")
      return model.kept && found !== null && typeof found === "object" ? found : {}
    } catch { return {} }
  }
  const remember = (what, value) => {
    if (!model.kept) return
    try { localStorage.setItem(`sway-${what}-${model.kept}`, JSON.stringify(value)) } catch { /* private window */ }
  }
  const choose = (key, shown) => {
    model.send_msg({ type: "column", key, shown })
    remember("columns", { ...recall("columns"), [key]: shown })
  }

  // Where columns stand and how wide they are; the server hears of their order, for its file.
  const layout = recall("layout")
  let order = Array.isArray(layout.order) ? layout.order.filter((key) => typeof key === "string") : []
  let widths = Object.fromEntries(Object.entries(layout.widths ?? {}).filter(([, w]) => w >= LEAST && w <= MOST))
  let tall = recall("rows").tall === true
  const high = () => tall ? THREE : ONE
  const ordered = () => {
    const place = (key) => order.includes(key) ? order.indexOf(key) : order.length
    return model.heads.map((h, i) => [h, i]).sort(([a, i], [b, k]) => place(a[0]) - place(b[0]) || i - k)
  }
  const shown = () => ordered().filter(([h]) => !model.hidden.includes(h[0]))
  const lay = () => {
    const width = ([key, , usual]) => Object.hasOwn(widths, key) ? `${widths[key]}px` : usual
    root.style.setProperty("--columns", shown().map(([h]) => width(h)).join(" "))
  }
  const keep = () => remember("layout", { order, widths })
  const tellOrder = () => model.send_msg({ type: "order", keys: ordered().map(([h]) => h[0]) })

  // What stands before the edge keeps its width, so that the edge is where it is put; what comes after gives way.
  const resize = (key, width) => {
    const at = shown().findIndex(([h]) => h[0] === key)
    shown().slice(0, at).forEach(([[before, , usual]], i) => {
      if (usual.includes("fr")) widths[before] ??= Math.round(head.children[i].getBoundingClientRect().width)
    })
    widths[key] = Math.round(Math.min(Math.max(width, LEAST), MOST))
    lay()
  }
  const move = (key, before) => {
    const keys = ordered().map(([h]) => h[0]).filter((k) => k !== key)
    const at = before === null ? keys.length : keys.indexOf(before)
    order = [...keys.slice(0, at), key, ...keys.slice(at)]
    redraw()
    keep()
    tellOrder()
    const titled = shown().filter(([h]) => h[1])
    const place = titled.findIndex(([h]) => h[0] === key) + 1
    if (place) said.textContent = `${titled[place - 1][0][1]} is column ${place} of ${titled.length}`
  }

  const button = (key, words, act) => {
    const made = make("button")
    made.type = "button"
    made.dataset.key = key
    made.textContent = words
    made.addEventListener("click", act)
    return made
  }
  const drawHead = () => {
    // Menu and heads are made anew; who is in one of them by key stays there.
    const held = root.getRootNode().activeElement?.dataset?.key
    const columns = shown()
    const cells = columns.map(([[key, title, , right, sort]], i) => {
      const cell = make("div", right ? "cell right" : "cell", "columnheader")
      cell.style.gridColumn = i + 1
      cell.dataset.column = key
      const direction = model.sort === sort ? "ascending" : model.sort === "-" + sort ? "descending" : "none"
      if (!sort) {
        const text = make("span")
        text.textContent = title
        if (title) {
          text.tabIndex = 0
          text.dataset.key = key
        }
        cell.append(text)
        return cell
      }
      cell.setAttribute("aria-sort", direction)
      const words = title + ({ ascending: " ↑", descending: " ↓" }[direction] ?? "")
      cell.append(button(key, words, () => model.send_msg({ type: "sort", key })))
      return cell
    })
    const grips = columns.map(([[key]], i) => {
      const grip = make("div", "grip")
      grip.style.gridColumn = i + 1
      grip.dataset.grip = key
      grip.setAttribute("aria-hidden", "true")
      return grip
    })
    head.replaceChildren(...cells, ...grips)
    lay()
    scroll.setAttribute("aria-colcount", columns.length)
    if (model.choosable) drawMenu()
    if (held) root.querySelector(`[data-key="${CSS.escape(held)}"]:not(:disabled)`)?.focus()
  }
  const drawMenu = () => {
    const titled = ordered().map(([h]) => h).filter((h) => h[1])
    const lines = titled.map(([key, title], i) => {
      const line = make("div", "line")
      const label = make("label")
      const box = make("input")
      box.type = "checkbox"
      box.dataset.key = "show " + key
      box.checked = !model.hidden.includes(key)
      box.addEventListener("change", () => choose(key, box.checked))
      label.append(box, document.createTextNode(" " + title))
      const earlier = button("earlier " + key, "↑", () => move(key, titled[i - 1][0]))
      const later = button("later " + key, "↓", () => move(key, titled[i + 2]?.[0] ?? null))
      for (const [b, word, end] of [[earlier, "earlier", i === 0], [later, "later", i === titled.length - 1]]) {
        b.setAttribute("aria-label", `Move ${title} ${word}`)
        b.disabled = end
      }
      line.append(label, earlier, later)
      return line
    })
    const words = make("p")
    words.textContent = "Drag a head to move a column, its edge to change its width; by key: Shift and ← or → on a head."
    const reset = button("usual", "Usual order and widths", () => {
      order = []
      widths = {}
      redraw()
      keep()
      tellOrder()
    })
    const density = make("label")
    const box = make("input")
    box.type = "checkbox"
    box.dataset.key = "tall"
    box.checked = tall
    box.addEventListener("change", () => {
      // The row at the top stays there.
      const top = scroll.scrollTop / high()
      tall = box.checked
      size()
      drawRows()
      scroll.scrollTop = top * high()
      remember("rows", { tall })
    })
    density.append(box, document.createTextNode(" Rows of up to three lines"))
    list.replaceChildren(...lines, density, words, reset)
  }
  const redraw = () => { drawHead(); drawRows() }

  // The open menu lies over rows: a press elsewhere or Escape closes it, wherever the focus is.
  const elsewhere = (event) => { if (!event.composedPath().includes(menu)) menu.open = false }
  const escape = (event) => {
    if (event.key !== "Escape") return
    event.stopPropagation()
    menu.open = false
    summary.focus()
  }
  const listen = (on) => {
    const how = on ? "addEventListener" : "removeEventListener"
    document[how]("pointerdown", elsewhere, true)
    document[how]("keydown", escape, true)
  }
  menu.addEventListener("toggle", () => listen(menu.open))
  model.on("remove", () => listen(false))

  // -- columns by hand and by key --
  const barred = make("div", "drop")
  root.append(barred)
  let moved = false
  const drag = (event, going, done) => {
    const from = event.clientX
    moved = false
    const go = (e) => {
      // It may have been let go where the head hears nothing of it.
      if (!(e.buttons & 1)) return end(e)
      if (!moved && Math.abs(e.clientX - from) < SLACK) return
      moved = true
      head.setPointerCapture(event.pointerId)
      going(e.clientX - from, e.clientX)
    }
    const end = (e) => {
      head.removeEventListener("pointermove", go)
      for (const name of ["pointerup", "pointercancel"]) head.removeEventListener(name, end)
      barred.style.display = ""
      if (moved) done(e.type === "pointerup")
      setTimeout(() => { moved = false })
    }
    head.addEventListener("pointermove", go)
    for (const name of ["pointerup", "pointercancel"]) head.addEventListener(name, end)
  }
  head.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return
    const grip = event.target.closest("[data-grip]")?.dataset.grip
    if (grip !== undefined) {
      event.preventDefault()
      const width = headOf(grip).getBoundingClientRect().width
      drag(event, (by) => resize(grip, width + by), keep)
      return
    }
    const key = event.target.closest("[data-column]")?.dataset.column
    // A finger scrolls the table sideways.
    if (key === undefined || !model.choosable || event.pointerType === "touch") return
    let before
    drag(event, (_, x) => {
      const boxes = [...head.querySelectorAll("[data-column]")].map((c) => [c.dataset.column, c.getBoundingClientRect()])
      const next = boxes.find(([, box]) => x < box.left + box.width / 2)
      before = next ? next[0] : null
      const own = root.getBoundingClientRect()
      const edge = (next ? next[1].left : boxes.at(-1)[1].right) - own.left
      barred.style.cssText = `display: block; left: ${edge - 6}px; top: ${scroll.offsetTop}px; height: ${scroll.offsetHeight}px`
    }, (meant) => {
      if (!meant || before === undefined || before === key) return
      if (before === null) {
        // After the last one that is shown, before those that are hidden behind it.
        const keys = ordered().map(([h]) => h[0])
        before = keys[keys.indexOf(shown().at(-1)[0][0]) + 1] ?? null
        if (before === key) return
      }
      move(key, before)
    })
  })
  const headOf = (key) => head.querySelector(`[data-column="${CSS.escape(key)}"]`)
  // The click that ends a drag orders nothing.
  head.addEventListener("click", (event) => { if (moved) event.stopPropagation() }, true)
  head.addEventListener("dblclick", (event) => {
    const key = event.target.closest("[data-grip]")?.dataset.grip
    if (key === undefined) return
    delete widths[key]
    lay()
    keep()
  })
  head.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key]
    const key = event.target.dataset?.key
    if (!step || !event.shiftKey || key === undefined) return
    event.preventDefault()
    event.stopPropagation()
    resize(key, headOf(key).getBoundingClientRect().width + step)
    keep()
  })

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
    rows.style.transform = `translateY(${first * high()}px)`
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
    const height = Math.max(scroll.clientHeight - HEAD, high())
    return [Math.floor(scroll.scrollTop / high()), Math.ceil((scroll.scrollTop + height) / high())]
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
    root.classList.toggle("tall", tall)
    root.style.setProperty("--row-px", `${high()}px`)
    spacer.style.height = `${model.total * high()}px`
    scroll.style.height = `${Math.min(model.total * high() + HEAD + 4, model.height_px)}px`
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
    const top = place * high()
    const height = Math.max(scroll.clientHeight - HEAD, high())
    if (top < scroll.scrollTop) scroll.scrollTop = top
    else if (top + high() > scroll.scrollTop + height) scroll.scrollTop = top + high() - height
  }

  rows.addEventListener("click", (event) => {
    const row = event.target.closest(".row")
    if (row) model.send_msg({ type: "open", item: Number(row.dataset.item) })
  })
  scroll.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    const { item } = model.active
    const opens = event.key === "Enter" && item >= 0 && !event.ctrlKey && !event.metaKey
    if ((!step && !opens) || event.target !== scroll) return
    event.preventDefault()
    event.stopPropagation()
    model.send_msg(step ? { type: "step", step } : { type: "open", item })
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
  for (const name of ["hidden", "heads"]) model.on(name, redraw)
  drawHead()
  drawRows()
  size()
  const kept = recall("columns")
  if (Object.keys(kept).length) model.send_msg({ type: "columns", shown: kept })
  if (order.length) tellOrder()
  return root
}
