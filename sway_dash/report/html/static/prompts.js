// Prompts: which are shown and in what order, as a plot, a table and words. One state; everything is drawn from it.
"use strict"
const prompts = {}
sway.ready((data) => {
  const { el, number, place } = sway
  const all = data.prompts
  const section = document.getElementById("prompts")
  if (!all.series.length || !section.querySelector(".grid")) return
  const ROW = 30, AHEAD = 12, MOST_DOTS = 500, LABELLED = 60, PAPER = 18
  const MARKS = { above: "▲", inside: "○", none: "◇", failed: "✕" }
  const MARKERS = { above: "triangle", inside: "circle", none: "diamond", failed: "x" }
  const STATUS = { above: "above", inside: "inside", none: "no null", failed: "failed" }
  const MEANING = { above: "above all random adapters", inside: "inside their range", none: "no random adapters", failed: "could not be measured" }

  const known = (s, metric) => s[metric].value.every((v) => v !== null)
  const state = { series: 0, metric: "js", order: "-value", query: "", regex: false, least: 0, status: "", tags: new Set(), picked: null, open: null }
  prompts.state = state
  let series, rows, shown, candidates
  prompts.text = (row) => all.texts[row.text]
  prompts.series = () => series

  // -- rows ------------------------------------------------------------------------------------
  const load = () => {
    series = all.series[state.series]
    const m = series[state.metric]
    const words = (top) => top.length ? all.words[top[0]] : ""
    rows = series.item.map((item, i) => ({
      i, item, text: series.text[i], tags: series.tags[i], value: m.value[i], js: series.js.value[i], kl: series.kl.value[i],
      lo: m.lo[i], hi: m.hi[i], draws: m.draws[i], below: m.below[i], base: series.base[i], tuned: series.tuned[i],
      status: m.draws[i] ? (m.value[i] > m.hi[i] ? "above" : "inside") : "none", first: [words(series.base[i]), words(series.tuned[i])],
    }))
    for (const [item, text, error] of series.failed)
      rows.push({ i: -1, item, text, tags: [], value: null, js: null, kl: null, draws: 0, base: [], tuned: [], status: "failed", error, first: [] })
    rows.sort((a, b) => a.item - b.item)
  }
  const topWords = (row) => {
    if (row.error) return row.error
    if (!row.base.length || !row.tuned.length) return "not recorded"
    const [base, tuned] = row.first.map(sway.tokenText)
    return row.base[0] === row.tuned[0] ? `${base} (unchanged)` : `${base} → ${tuned}`
  }
  let pattern = null, wrong = ""
  const setPattern = () => {
    wrong = ""
    pattern = null
    if (!state.query) return
    try {
      pattern = new RegExp(state.regex ? state.query : state.query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "iu")
    } catch (error) {
      wrong = `not a regular expression: ${error.message}`
    }
  }
  const hit = (row) => pattern.test(prompts.text(row)) || row.tags.some((t) => pattern.test(all.tags[t])) ||
    pattern.test(row.i < 0 ? "" : series.said[row.i]) || row.first.some((text) => pattern.test(text))
  const admits = (row, without = "") => !wrong &&
    (without === "tags" || !state.tags.size || row.tags.some((t) => state.tags.has(t))) &&
    (without === "status" || !state.status || row.status === state.status) &&
    (without === "picked" || !state.picked || state.picked.has(row.item)) &&
    (!state.least || row.value >= state.least) && (!pattern || hit(row))
  const filtered = () => Boolean(state.tags.size || state.query || state.status || state.least || state.picked)
  const KEYS = {
    suite: (r) => r.item, value: (r) => r.value, js: (r) => r.js, kl: (r) => r.kl, prompt: (r) => prompts.text(r).toLowerCase(),
    rank: (r) => r.draws ? r.below / r.draws : -1, null: (r) => r.draws ? r.hi : -1, tags: (r) => r.tags.map((t) => all.tags[t]).join(", "), top: (r) => topWords(r),
  }
  const sort = (found) => {
    const down = state.order.startsWith("-"), key = KEYS[state.order.replace("-", "")]
    const keyed = found.map((row) => [key(row), row])
    // What is not known comes last either way.
    keyed.sort(([a, x], [b, y]) => (a === null) - (b === null) || (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1) || x.item - y.item)
    return keyed.map(([, row]) => row)
  }
  // A text that is listed twice counts once, at its first place.
  const distinct = (found) => {
    const seen = new Map()
    for (const row of [...found].sort((a, b) => b.item - a.item)) if (row.value !== null) seen.set(row.text, row)
    return [...seen.values()]
  }
  const summary = () => {
    const m = series[state.metric]
    if (!filtered()) return m.all
    const only = state.tags.size === 1 && !state.query && !state.status && !state.least && !state.picked
    if (only) return m.tagged.find(([tag]) => tag === all.tags[[...state.tags][0]])?.[1] ?? null
    const values = distinct(shown).map((r) => r.value).sort((a, b) => a - b)
    if (!values.length) return null
    const half = values.length >> 1
    const median = values.length % 2 ? values[half] : (values[half - 1] + values[half]) / 2
    return { n: values.length, mean: values.reduce((a, b) => a + b, 0) / values.length, median, ci: null, method: "intervals are told for all prompts and for single tags" }
  }

  // -- the plot --------------------------------------------------------------------------------
  const to = (value) => state.metric === "kl" ? Math.sqrt(Math.max(value, 0)) : value
  const many = () => candidates.length > MOST_DOTS
  let dots = null, ecdf = null
  const setMean = (plot, of) => {
    plot.find("mean").setv({ location: of ? to(of.mean) : 0, visible: Boolean(of) })
    plot.find("median").setv({ location: of ? to(of.median) : 0, visible: Boolean(of) })
    plot.find("band").setv({ left: of?.ci ? to(of.ci[0]) : 0, right: of?.ci ? to(of.ci[1]) : 0, visible: Boolean(of?.ci) })
  }
  const drawDots = (of) => {
    if (!dots) return
    const measured = candidates.map((row, place) => [row, -place])
    const picked = (row) => !state.picked || state.picked.has(row.item)
    const column = (f) => measured.map(([row, y]) => f(row, y))
    dots.find("rows").data = {
      item: column((r) => r.item), x: column((r) => r.value === null ? 0 : to(r.value)), y: column((r, y) => y),
      status: column((r) => STATUS[r.status]), marker: column((r) => MARKERS[r.status]), alpha: column((r) => picked(r) ? 1 : 0.22),
      prompt: column((r) => sway.visible(prompts.text(r)).slice(0, 300)),
      value_text: column((r) => r.error ? `not measured: ${r.error}` : number(r.value, "nats")),
      null_text: column((r) => r.draws ? `${number(r.lo)} to ${number(r.hi)}, n = ${r.draws}` : "none"),
      top_text: column(topWords), tags: column((r) => r.tags.map((t) => all.tags[t]).join(", ")),
    }
    const ranged = measured.filter(([r]) => r.draws)
    dots.find("nulls").data = { y: ranged.map(([, y]) => y), lo: ranged.map(([r]) => to(r.lo)), hi: ranged.map(([r]) => to(r.hi)) }
    const n = Math.max(candidates.length, 1), labelled = n <= LABELLED
    const axis = dots.figure.left[0], letters = dots.figure.outer_width < 520 ? 16 : 34
    const row = Math.max(13, Math.min(22, Math.floor(560 / n)))
    axis.ticker.ticks = labelled ? measured.map(([, y]) => y) : []
    axis.major_label_overrides = new Map(labelled ? measured.map(([r, y]) => [y, sway.canvasText(prompts.text(r), letters)]) : [])
    axis.visible = labelled
    axis.major_label_text_font_size = row >= 16 ? "11px" : "9.5px"
    dots.figure.height = labelled ? Math.max(200, row * n + 76) : 420
    const thick = row >= 16 && labelled ? 9 : Math.max(1, Math.min(6, Math.floor(420 / n)))
    dots.find("null").glyph.line_width = { value: thick }
    for (const glyph of [dots.find("dot").glyph, dots.find("dot").nonselection_glyph]) glyph.size = { value: thick >= 6 ? 10 : 6 }
    dots.figure.y_range.setv({ start: -(n - 0.3), end: 0.7 })
    setMean(dots, of)
    mark()
  }
  const drawEcdf = (of) => {
    if (!ecdf) return
    const values = candidates.filter((r) => r.value !== null).map((r) => r.value).sort((a, b) => a - b)
    const n = values.length, most = Math.min(n, 400), at = new Set()
    for (let k = 0; k < most; k++) at.add(Math.round(k * (n - 1) / Math.max(most - 1, 1)))
    const places = [...at]
    ecdf.find("tuned").data = {
      x: places.map((i) => to(values[i])), share: places.map((i) => (i + 1) / n),
      text: places.map((i) => `${sway.percent((i + 1) / n)} of ${n.toLocaleString("en")} up to ${number(values[i], "nats")}`),
    }
    const nulls = series[state.metric].nulls
    ecdf.find("nulls").data = { ...nulls, x: nulls.x.map(to) }
    const end = to(values[n - 1] ?? 1) || 1, cells = new Map()
    for (const row of candidates) if (row.value !== null) {
      const cell = Math.min(Math.floor(400 * to(row.value) / end), 399)
      cells.set(cell, cells.get(cell) || !state.picked || state.picked.has(row.item))
    }
    const ticks = [...cells]
    ecdf.find("rug").data = { x: ticks.map(([c]) => (c + 0.5) * end / 400), y: ticks.map(() => -0.045), alpha: ticks.map(([, on]) => on ? 0.75 : 0.22) }
    setMean(ecdf, of)
    mark()
  }
  const mark = () => {
    const row = rows.find((r) => r.item === state.open)
    if (dots && !many()) {
      const at = candidates.findIndex((r) => r.item === state.open)
      dots.find("rows").selected.indices = at >= 0 ? [at] : []
    }
    if (ecdf && many()) ecdf.find("open").data = row && row.value !== null ? { x: [to(row.value)], share: [-0.045] } : { x: [], share: [] }
  }
  const brushed = (event, inside) => {
    const box = event.geometry
    if (!event.final || box?.type !== "rect") return
    const found = candidates.filter((row, k) => row.value !== null && inside(row, k, box)).map((r) => r.item)
    state.picked = found.length ? new Set(found) : null
    draw()
  }
  const between = (value, a, b) => value >= Math.min(a, b) && value <= Math.max(a, b)
  sway.figure("dots", (plot) => {
    dots = plot
    sway.listen(plot, "tap", (event) => {
      const at = Math.round(-event.y)
      if (candidates[at]) prompts.open(candidates[at].item)
    })
    sway.listen(plot, "selectiongeometry", (event) =>
      brushed(event, (row, k, box) => between(to(row.value), box.x0, box.x1) && between(-k, box.y0, box.y1)))
    drawDots(summary())
  })
  sway.figure("ecdf", (plot) => {
    ecdf = plot
    sway.listen(plot, "selectiongeometry", (event) => brushed(event, (row, k, box) => between(to(row.value), box.x0, box.x1)))
    sway.listen(plot, "tap", (event) => {
      const near = candidates.filter((r) => r.value !== null).reduce((a, b) => !a || Math.abs(to(b.value) - event.x) < Math.abs(to(a.value) - event.x) ? b : a, null)
      if (near) prompts.open(near.item)
    })
    if (many()) drawEcdf(summary())
  })

  // -- the table: only the rows in sight are in the page ----------------------------------------
  const grid = section.querySelector(".grid")
  const HEADS = [
    ["#", "46px", true, "suite", (r) => [String(r.item + 1)]],
    ["", "18px", false, "", (r) => [MARKS[r.status], MEANING[r.status]]],
    ["Prompt", "minmax(150px, 3fr)", false, "prompt", (r) => [sway.visible(prompts.text(r).slice(0, 400))]],
    ["JS, nats", "74px", true, "js", (r) => [number(r.js), r.js]],
    ["KL, nats", "74px", true, "kl", (r) => [number(r.kl), r.kl]],
    ["Top token", "minmax(130px, 1.5fr)", false, "top", (r) => [topWords(r)]],
    ["Above random", "104px", true, "rank", (r) => [r.draws ? `${r.below} of ${r.draws}` : "—"]],
    ["Tags", "minmax(84px, 1fr)", false, "tags", (r) => [r.tags.map((t) => sway.visible(all.tags[t])).join(", ")]],
    ["Largest random", "116px", true, "null", (r) => [number(r.draws ? r.hi : null), r.draws ? r.hi : null]],
  ]
  grid.style.setProperty("--columns", HEADS.map((h) => h[1]).join(" "))
  const head = el("div", { class: "row head", role: "row" })
  const body = el("div", { class: "rows", role: "rowgroup" })
  const spacer = el("div", { class: "spacer" }, body)
  grid.append(head, spacer)
  const drawHead = () => head.replaceChildren(...HEADS.map(([title, , right, order]) => {
    const on = state.order.replace("-", "") === order || (state.order.replace("-", "") === "value" && order === state.metric)
    const way = on ? (state.order.startsWith("-") ? "descending" : "ascending") : "none"
    const arrow = { ascending: " ↑", descending: " ↓", none: "" }[way]
    const button = order ? el("button", { type: "button", "data-order": order, on: { click: () => orderBy(order) } }, title + arrow) : title
    return el("div", { class: right ? "cell right" : "cell", role: "columnheader", "aria-sort": order ? way : null }, button)
  }))
  const orderBy = (order) => {
    const up = state.order === order, down = state.order === `-${order}`
    const text = ["prompt", "tags", "top", "suite"].includes(order)
    state.order = up ? `-${order}` : down ? order : text ? order : `-${order}`
    const held = document.activeElement?.dataset?.order
    draw()
    grid.scrollTop = 0
    if (held) head.querySelector(`[data-order="${held}"]`)?.focus()
  }
  const marked = (text) => {
    if (!pattern) return [text]
    const parts = []
    let end = 0
    for (const found of text.matchAll(new RegExp(pattern.source, "giu"))) {
      if (!found[0]) continue
      parts.push(text.slice(end, found.index), el("mark", {}, found[0]))
      end = found.index + found[0].length
    }
    return [...parts, text.slice(end)]
  }
  const drawRows = () => {
    const first = Math.max(0, Math.floor(grid.scrollTop / ROW) - AHEAD)
    const part = shown.slice(first, first + Math.ceil(grid.clientHeight / ROW) + 2 * AHEAD)
    body.style.transform = `translateY(${first * ROW}px)`
    body.replaceChildren(...part.map((row, k) => el("div", {
      class: row.item === state.open ? "row open" : "row", role: "row", "data-item": row.item, "aria-rowindex": first + k + 2,
      "aria-selected": String(row.item === state.open),
    }, HEADS.map(([title, , right, , cell]) => {
      const [text, full] = cell(row)
      const value = typeof full === "number" ? { "data-value": String(full), title: String(full) } : { title: full }
      return el("div", { class: right ? "cell right" : "cell", role: "gridcell", dir: right ? "ltr" : "auto", ...value },
        title === "Prompt" ? marked(text) : text)
    }))))
  }
  const size = () => {
    spacer.style.height = `${shown.length * ROW}px`
    grid.style.height = `${Math.min((shown.length + 1) * ROW + 4, 520)}px`
    grid.setAttribute("aria-rowcount", shown.length + 1)
    grid.setAttribute("aria-label", `${sway.count(shown.length, "prompt")}`)
  }
  let waiting = 0
  grid.addEventListener("scroll", () => { waiting ||= requestAnimationFrame(() => { waiting = 0; drawRows() }) })
  new ResizeObserver(() => drawRows()).observe(grid)
  body.addEventListener("click", (event) => {
    const row = event.target.closest(".row")
    if (row) prompts.open(Number(row.dataset.item))
  })
  grid.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (!step || event.target !== grid) return
    event.preventDefault()
    prompts.step(step)
  })
  const reveal = () => {
    const at = shown.findIndex((r) => r.item === state.open)
    if (at < 0) return
    const top = at * ROW, height = Math.max(grid.clientHeight - ROW, ROW)
    if (top < grid.scrollTop) grid.scrollTop = top
    else if (top + ROW > grid.scrollTop + height) grid.scrollTop = top + ROW - height
  }

  // -- words -----------------------------------------------------------------------------------
  const chip = (words, end, pressed, click, label) => el("button", { type: "button", class: "chip", "aria-pressed": pressed === null ? null : String(pressed), "aria-label": label ?? null, on: { click } },
    el("span", { class: "chip-words", dir: "auto" }, words), el("span", { class: "chip-end" }, end))
  const chips = (name, made) => {
    const target = section.querySelector(`[data-chips="${name}"]`)
    const at = [...target.children].indexOf(document.activeElement)
    target.replaceChildren(...made)
    if (at >= 0) target.children[Math.min(at, target.children.length - 1)]?.focus()
  }
  const drawChips = () => {
    const places = { above: 0, inside: 0 }
    for (const row of rows) if (row.status in places && admits(row, "status")) places[row.status]++
    chips("status", Object.entries(places).filter(() => places.above + places.inside).map(([name, n]) =>
      chip(`${MARKS[name]} ${name}`, n.toLocaleString("en"), state.status === name, () => { state.status = state.status === name ? "" : name; draw() })))
    const tags = new Map()
    for (const row of rows) for (const t of row.tags) tags.set(t, (tags.get(t) ?? 0) + (admits(row, "tags") ? 1 : 0))
    chips("tags", [...tags].map(([t, n]) => chip(sway.visible(all.tags[t]), n.toLocaleString("en"), state.tags.has(t), () => toggle(t))))
    const force = []
    if (state.query) force.push([`${state.regex ? "regex" : "text"}: ${state.query}`, () => { state.query = ""; field("query").value = "" }])
    if (state.status) force.push([`${state.status} random adapters`, () => { state.status = "" }])
    if (state.least) force.push([`at least ${number(state.least, "nats")}`, () => { state.least = 0; field("least").value = "" }])
    for (const t of state.tags) force.push([`tag: ${all.tags[t]}`, () => state.tags.delete(t)])
    if (state.picked) force.push([`${state.picked.size.toLocaleString("en")} brushed`, () => { state.picked = null }])
    if (force.length > 1) force.push(["clear all", () => force.slice(0, -1).forEach(([, drop]) => drop())])
    chips("active", force.map(([words, drop]) => chip(sway.visible(words), "✕", null, () => { drop(); draw() }, `remove filter: ${words}`)))
  }
  const toggle = (tag) => {
    if (!state.tags.delete(tag)) state.tags.add(tag)
    draw()
  }
  const drawWords = (of) => {
    const measured = shown.filter((r) => r.value !== null), whole = rows.filter((r) => r.value !== null)
    const failed = rows.length - whole.length
    section.querySelector(".count").textContent = `${measured.length.toLocaleString("en")} of ${sway.count(whole.length, "prompt")} shown` +
      (failed ? `, ${failed.toLocaleString("en")} could not be measured` : "")
    const alert = section.querySelector(".wrong")
    alert.hidden = !wrong
    alert.textContent = wrong
    const caption = place("caption")
    if (!of) caption.textContent = "No prompt passes the filter."
    else {
      const same = measured.reduce((sum, r) => sum + (series.same[r.i] ?? 0), 0) / measured.length
      const values = measured.map((r) => r.value).sort((a, b) => a - b)
      const at = 0.9 * (values.length - 1), low = Math.floor(at)
      const p90 = values[low] + (at - low) * ((values[low + 1] ?? values[low]) - values[low])
      const draws = Math.max(...measured.map((r) => r.draws), 0)
      const above = measured.filter((r) => r.status === "above").length
      caption.replaceChildren("Mean ", sway.exact(of.mean, "nats"),
        ...(of.ci ? [", 95 % CI ", sway.exact(of.ci[0]), " to ", sway.exact(of.ci[1])] : [` (${of.method})`]), `, n = ${of.n.toLocaleString("en")}. `,
        "Median ", sway.exact(of.median), `, p90 ${number(p90)}, max ${number(values.at(-1))} nats`,
        Number.isFinite(same) && series.same[0] !== null ? `; same top token on ${Math.round(100 * same)} % of ${measured.length.toLocaleString("en")}. ` : ". ",
        draws ? `${above.toLocaleString("en")} of ${sway.count(measured.length, "prompt")} lie above all ${draws} random adapters (a prompt that is not moved would with a chance of ${Math.round(100 / (draws + 1))} %). ` : "",
        series.noise[state.metric] !== null ? `Rounding alone makes up to ${number(series.noise[state.metric], "nats")}.` : "")
    }
    const entries = many() ? [["line", "tuned", "tuned model"], ...(rows.some((r) => r.draws) ? [["dash", "null", "random adapters, every draw"]] : [])]
      : rows.some((r) => r.draws) ? [["▲", "tuned", "above every random adapter on the same prompt"], ["●", "null", "inside their range"], ["bar", "null", "range of the random adapters"]]
        : [["◆", "base", "no random adapters on this prompt"]]
    if (failed && !many()) entries.push(["✕", "bad", "could not be measured"])
    entries.push(["line", "tuned", of?.ci ? "mean with its 95 % interval" : "mean"], ["dash", "muted", "median"])
    if (series.noise[state.metric] !== null) entries.push(["hatch", "muted", "rounding: the same model twice"])
    place("legend").replaceChildren(sway.legend(entries))
    const says = `${many() ? "Cumulative distributions" : "Dot plot"} of ${sway.count(measured.length, "prompt")}. ${caption.textContent} The table of prompts has every number.`
    for (const plot of [dots, ecdf]) if (plot) plot.figure.html_attributes = new Map([["role", "img"], ["aria-label", says]])
  }
  const drawTagged = () => {
    const found = series[state.metric].tagged
    const name = state.metric === "js" ? "JS" : "KL"
    place("tagged").replaceChildren(...(found.length ? [
      el("h3", { class: "sway-h2" }, "By tag"),
      sway.table(["Tag", "Prompts", `Mean ${name}, nats`, "95 % interval"], found.map(([tag, of]) =>
        [sway.visible(tag), of.n.toLocaleString("en"), sway.exact(of.mean), of.ci ? sway.interval(of.ci) : of.method]), [1, 2, 3]),
    ] : []))
  }
  // Paper has no scroll bar: the first rows stand for themselves.
  const drawPaper = () => place("paper").replaceChildren(
    el("p", { class: "sway-caption" }, `The first ${Math.min(PAPER, shown.length)} of ${sway.count(shown.length, "prompt")} in this order`),
    sway.table(["#", "", "Prompt", "JS, nats", "KL, nats", "Above random", "Top token"], shown.slice(0, PAPER).map((r) =>
      [String(r.item + 1), MARKS[r.status], sway.visible(prompts.text(r)).slice(0, 80), number(r.js), number(r.kl), r.draws ? `${r.below} of ${r.draws}` : "—", topWords(r)]), [0, 3, 4, 5]))

  // -- everything ------------------------------------------------------------------------------
  const draw = () => {
    setPattern()
    candidates = sort(rows.filter((r) => admits(r, "picked")))
    shown = state.picked ? candidates.filter((r) => state.picked.has(r.item)) : candidates
    const of = summary()
    section.querySelector(".plot-dots").hidden = many()
    section.querySelector(".plot-ecdf").hidden = !many()
    if (many()) drawEcdf(of)
    else drawDots(of)
    drawHead()
    size()
    drawRows()
    drawChips()
    drawWords(of)
    drawPaper()
    prompts.moved?.()
  }
  const another = () => {
    if (!known(all.series[state.series], state.metric)) state.metric = all.series[state.series].metric
    load()
    const wanted = `${state.series}/${state.metric}`
    for (const name of ["strip", "mean", "dots", "ecdf"]) {
      sway.state(name, wanted)
      sway.tell(name, wanted)
    }
    drawTagged()
  }
  const field = (name) => section.querySelector(`[data-field="${name}"]`)
  const choose = (name) => section.querySelector(`[data-choice="${name}"]`)
  let typing = 0
  field("query").addEventListener("input", (event) => {
    clearTimeout(typing)
    typing = setTimeout(() => { state.query = event.target.value; draw() }, 120)
  })
  field("regex").addEventListener("change", (event) => { state.regex = event.target.checked; draw() })
  field("least").addEventListener("input", (event) => { state.least = Math.max(Number(event.target.value) || 0, 0); draw() })
  choose("order").addEventListener("change", (event) => { state.order = event.target.value; draw(); grid.scrollTop = 0 })
  choose("metric").addEventListener("change", (event) => { state.metric = event.target.value; another(); draw() })
  choose("series").addEventListener("change", (event) => {
    Object.assign(state, { series: Number(event.target.value), picked: null, open: null, tags: new Set(), status: "" })
    state.metric = all.series[state.series].metric
    choose("metric").value = state.metric
    another()
    draw()
    prompts.open(shown[0]?.item ?? null)
  })
  section.querySelector("[data-act=csv]").addEventListener("click", () => {
    // What a spreadsheet would run as a formula is made inert.
    const cell = (v) => typeof v === "number" ? String(v) : `"${String(v ?? "").replace(/^(?=\s*['=+\-@])/, "'").replaceAll('"', '""')}"`
    const lines = [["item", "prompt", "tags", "js", "kl", "kl_reverse", "null_lo", "null_hi", "null_rank", "null_n", "base_top", "tuned_top"]]
    for (const r of shown) lines.push([r.item, prompts.text(r), r.tags.map((t) => all.tags[t]).join(";"), r.js, r.kl, r.i < 0 ? null : series.klr[r.i], r.lo, r.hi, r.draws ? r.below : null, r.draws, ...r.first])
    const url = URL.createObjectURL(new Blob([lines.map((l) => l.map(cell).join(",")).join("\r\n") + "\r\n"], { type: "text/csv" }))
    el("a", { href: url, download: "prompts.csv" }).click()
    setTimeout(() => URL.revokeObjectURL(url), 1000)
  })
  prompts.open = (item) => {
    state.open = item
    mark()
    drawRows()
    reveal()
    prompts.show?.(rows.find((r) => r.item === item) ?? null)
  }
  prompts.step = (by) => {
    const at = shown.findIndex((r) => r.item === state.open)
    const next = shown[Math.min(Math.max(at + by, 0), shown.length - 1)]
    if (next) prompts.open(next.item)
  }
  prompts.where = () => [shown.findIndex((r) => r.item === state.open), shown.length]
  addEventListener("keydown", (event) => {
    if (event.target.closest?.("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return
    const step = { j: 1, k: -1 }[event.key]
    if (step) prompts.step(step)
  })
  state.metric = all.series[0].metric
  if (choose("metric").querySelector(`[value=${state.metric}]`)) choose("metric").value = state.metric
  another()
  draw()
  const begin = shown.find((r) => r.i >= 0 && series.detail[r.i] >= 0) ?? shown[0]
  prompts.begin = () => prompts.open(begin?.item ?? null)
})
