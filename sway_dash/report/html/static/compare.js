// The table of compared prompts: one difference at a time, searched, filtered by tag and by noise, sorted by any column.
sway.ready((data) => {
  const { el, number, signed, visible, count } = sway
  const ROW = 28
  const ON_PAPER = 60
  const GAP = 12
  const EDGES = 20
  const home = document.querySelector("[data-compared]")
  const said = document.querySelector("[data-count]")
  const menu = document.querySelector('[data-choice="contrast"]')
  const search = document.querySelector("[data-search]")
  const outside = document.querySelector("[data-outside]")
  const chips = [...document.querySelectorAll("button[data-tag]")]
  if (!home) return
  const SIGNS = { 1: ["▲", "more changed"], 0: ["○", "same"], "-1": ["▼", "less changed"] }
  const base = data.labels[data.baseline]
  const n = data.prompts.length
  const tagged = data.tags.some((tags) => tags.length)
  const chosen = { contrast: 0, sort: "-size", tags: new Set(), query: "" }
  let shown = []

  const contrast = () => data.contrasts[chosen.contrast]
  const value = {
    prompt: (i) => data.prompts[i].toLowerCase(),
    tags: (i) => data.tags[i].join(" ").toLowerCase() || null,
    delta: (i) => contrast().deltas[i],
    size: (i) => contrast().deltas[i] === null ? null : Math.abs(contrast().deltas[i]),
    floor: (i) => contrast().deltas[i] === null ? null : contrast().floors[i],
  }
  data.labels.forEach((label, run) => { value[label] = (i) => data.values[run][i] })

  const TEXTS = ["prompt", "tags"]
  let onPaper = false
  // Name, title, least width, share of what is left, whether it holds numbers.
  const heads = () => [
    ["way", "", 20, 0, false],
    ["prompt", "Prompt", 130, 4, false],
    ["delta", `Δ ${data.labels[contrast().run]}−${base}`, onPaper ? 62 : 92, 0, true],
    ...data.labels.map((label, run) => [label, run === data.baseline ? `${label} ★` : label, onPaper ? 52 : 80, 0, true]),
    ["size", "|Δ|", onPaper ? 52 : 80, 0, true],
    ["floor", "Noise ±", onPaper ? 52 : 80, 0, true],
    ...(tagged ? [["tags", "Tags", onPaper ? 60 : 90, 1, false]] : []),
  ]

  const exact = (v, text) => el("span", { title: v === null ? null : String(v), "data-value": v === null ? null : String(v) }, text)
  const cells = (i) => {
    const own = contrast()
    const delta = own.deltas[i]
    const [sign, words] = delta === null ? ["—", "not in both"] : SIGNS[own.way[i]]
    const again = data.occurrence[i] > 1 ? ` (${data.occurrence[i]}.)` : ""
    return [
      el("span", { title: words, "aria-label": words, role: "img" }, sign),
      el("bdi", { title: data.prompts[i] }, visible(data.prompts[i]) + again),
      exact(delta, delta === null ? "—" : signed(delta)),
      ...data.values.map((column) => exact(column[i], number(column[i]))),
      exact(delta === null ? null : Math.abs(delta), number(delta === null ? null : Math.abs(delta))),
      exact(delta === null ? null : own.floors[i], delta === null ? "—" : number(own.floors[i])),
      ...(tagged ? [data.tags[i].map(visible).join(", ")] : []),
    ]
  }

  const head = el("div", { class: "compared-head", role: "row" })
  const rows = el("div", { class: "compared-rows", role: "rowgroup" })
  const pane = el("div", { class: "compared-pane", role: "table", tabindex: 0, "aria-label": "Compared prompts" }, head, rows)
  home.append(pane)

  const sortBy = (name) => {
    const cycle = TEXTS.includes(name) ? [name, `-${name}`] : [`-${name}`, name]
    chosen.sort = chosen.sort === cycle[0] ? cycle[1] : cycle[0]
    draw()
    head.querySelector(`[data-sort="${CSS.escape(name)}"]`)?.focus()
  }
  const drawHead = () => {
    const found = heads()
    pane.style.setProperty("--columns", found.map(([, , least, share]) => share ? `minmax(${least}px, ${share}fr)` : `${least}px`).join(" "))
    pane.style.setProperty("--least", `${found.reduce((sum, [, , least]) => sum + least + GAP, EDGES - GAP)}px`)
    head.replaceChildren(...found.map(([name, text, , , right]) => {
      const order = chosen.sort === name ? "ascending" : chosen.sort === `-${name}` ? "descending" : "none"
      const mark = { ascending: " ▴", descending: " ▾", none: "" }[order]
      return el("div", { role: "columnheader", class: right ? "right" : null, "aria-sort": value[name] ? order : null },
        value[name] ? el("button", { type: "button", "data-sort": name, on: { click: () => sortBy(name) } }, text + mark) : text)
    }))
  }

  const row = (place) => {
    const i = shown[place]
    const found = heads()
    const made = el("div", { role: "row", class: "compared-row", "aria-rowindex": place + 2 },
      cells(i).map((cell, k) => el("div", { role: "cell", class: found[k][4] ? "right" : null }, cell)))
    made.style.top = `${place * ROW}px`
    return made
  }
  const drawRows = (first, last) => {
    rows.replaceChildren(...Array.from({ length: Math.max(0, last - first) }, (_, k) => row(first + k)))
  }
  const inSight = () => {
    const first = Math.max(0, Math.floor(pane.scrollTop / ROW) - 8)
    drawRows(first, Math.min(shown.length, first + Math.ceil(pane.clientHeight / ROW) + 24))
  }

  const draw = () => {
    const query = chosen.query.toLowerCase()
    const way = contrast().way
    shown = []
    for (let i = 0; i < n; i++) {
      if (chosen.tags.size && !data.tags[i].some((tag) => chosen.tags.has(tag))) continue
      if (query && !data.prompts[i].toLowerCase().includes(query) && !data.tags[i].some((t) => t.toLowerCase().includes(query))) continue
      if (outside.checked && !(contrast().deltas[i] !== null && way[i] !== 0)) continue
      shown.push(i)
    }
    const falling = chosen.sort.startsWith("-")
    const key = value[chosen.sort.replace(/^-/, "")]
    const keys = new Map(shown.map((i) => [i, key(i)]))
    // What is not known comes last either way; equals stay in the order of the suite.
    shown.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)]
      if (x === null || y === null) return (x === null) - (y === null) || a - b
      return (x < y ? -1 : x > y ? 1 : 0) * (falling ? -1 : 1) || a - b
    })
    said.textContent = shown.length === n ? count(n, "prompt") : `${shown.length.toLocaleString("en")} of ${count(n, "prompt")}`
    pane.setAttribute("aria-rowcount", shown.length + 1)
    rows.style.height = `${shown.length * ROW}px`
    pane.scrollTop = 0
    drawHead()
    inSight()
  }

  pane.addEventListener("scroll", inSight, { passive: true })
  new ResizeObserver(inSight).observe(pane)
  menu?.addEventListener("change", () => { chosen.contrast = Number(menu.value); draw() })
  search.addEventListener("input", () => { chosen.query = search.value; draw() })
  outside.addEventListener("change", draw)
  for (const chip of chips) chip.addEventListener("click", () => {
    const on = chip.getAttribute("aria-pressed") !== "true"
    chip.setAttribute("aria-pressed", on)
    if (on) chosen.tags.add(chip.dataset.tag)
    else chosen.tags.delete(chip.dataset.tag)
    draw()
  })
  addEventListener("beforeprint", () => {
    const most = Math.min(shown.length, ON_PAPER)
    onPaper = true
    drawHead()
    drawRows(0, most)
    pane.classList.add("on-paper")
    rows.style.height = `${most * ROW}px`
    if (most < shown.length) home.append(el("p", { class: "sway-caption more-on-screen" }, `The first ${most} of ${count(shown.length, "prompt")}.`))
  })
  addEventListener("afterprint", () => {
    home.querySelector(".more-on-screen")?.remove()
    pane.classList.remove("on-paper")
    onPaper = false
    draw()
  })
  draw()
})
