// What every report shares: the data it carries, figures and their states, themes, paper, small tools.
"use strict"
const sway = (() => {
  // -- text and numbers, written as the rest of the program writes them ------------------------
  const INVISIBLE = /[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu
  const visible = (text) => String(text).replaceAll("\r\n", "\n").replace(INVISIBLE, (c) =>
    ({ "\n": "⏎", "\r": "⏎", "\t": "⇥" }[c] ?? `‹${c.codePointAt(0).toString(16).toUpperCase()}›`))
  const tokenText = (text) => {
    const shown = visible(text)
    const core = shown.replace(/^ +| +$/g, "")
    if (!core) return "·".repeat(shown.length) || "∅"
    const left = shown.length - shown.replace(/^ +/, "").length
    return "·".repeat(left) + core + "·".repeat(shown.length - left - core.length)
  }
  const canvasText = (text, limit) => {
    let shown = visible(text)
    const tail = Math.floor(limit / 3)
    if (shown.length > limit) shown = `${shown.slice(0, limit - tail - 1)}…${shown.slice(-tail)}`
    return shown.replaceAll("$", "$\u200b").replaceAll("\\", "\\\u200b")
  }
  const superscript = (n) => String(n).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)])
  const number = (value, unit = "") => {
    if (value === null || value === undefined || !Number.isFinite(value)) return "—"
    const size = Math.abs(value)
    let text
    if (size >= 1000) text = Math.round(value).toLocaleString("en")
    else if (value === 0) text = "0"
    else if (size < 0.0001) {
      const [mantissa, exponent] = value.toExponential(2).split("e")
      text = `${mantissa}×10${superscript(Number(exponent))}`
    } else text = String(Number(value.toPrecision(3)))
    return unit ? `${text} ${unit}` : text
  }
  const signed = (value, unit = "") => {
    const text = number(Math.abs(value), unit)
    return value < 0 ? `−${text}` : value > 0 ? `+${text}` : text
  }
  const interval = (ci) => ci ? `${number(ci[0])} to ${number(ci[1])}` : "—"
  const percent = (share) => `${Number((100 * share).toPrecision(3))} %`
  const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many ?? `${one}s`}`

  // -- elements --------------------------------------------------------------------------------
  // Children that are strings become text: nothing untrusted is ever parsed as HTML.
  const el = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag)
    for (const [name, value] of Object.entries(attributes)) {
      if (value === false || value === null || value === undefined) continue
      if (name === "on") for (const [event, call] of Object.entries(value)) made.addEventListener(event, call)
      else made.setAttribute(name, value === true ? "" : value)
    }
    made.append(...children.flat().filter((c) => c !== null && c !== undefined))
    return made
  }
  const exact = (value, unit = "") =>
    el("span", { class: "sway-num", title: Number.isFinite(value) ? String(value) : null, "data-value": Number.isFinite(value) ? String(value) : null }, number(value, unit))
  const table = (head, rows, right = []) => {
    const side = (i) => right.includes(i) ? "sway-right" : null
    return el("div", { class: "sway-scroll", tabindex: 0 }, el("table", { class: "sway-table" },
      el("thead", {}, el("tr", {}, head.map((h, i) => el("th", { scope: "col", class: side(i) }, h)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, i) => el("td", { class: side(i) }, cell)))))))
  }
  const legend = (entries) => el("div", { class: "sway-legend", "aria-hidden": "true" }, entries.map(([sign, tone, words]) => {
    const drawn = ["bar", "hatch", "line", "dash", "dot"].includes(sign)
    const span = el("span", {}, drawn ? el("i", { class: `sway-${sign}` }) : el("i", {}, sign), words)
    span.style.setProperty("--tone", `var(--sway-${tone})`)
    return span
  }))
  const place = (name) => document.querySelector(`[data-place="${name}"]`)

  // -- the data --------------------------------------------------------------------------------
  const unpack = async (id) => {
    const letters = document.getElementById(id).textContent
    let bytes
    if (Uint8Array.fromBase64) bytes = Uint8Array.fromBase64(letters)
    else {
      const raw = atob(letters)
      bytes = new Uint8Array(raw.length)
      for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i)
    }
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))
    return new Response(stream).text()
  }
  // The page's policy knows the library by its hash, also when it comes out of a box.
  const library = () => unpack("sway-bokeh").then((code) => document.head.append(el("script", {}, code)))

  // -- figures ---------------------------------------------------------------------------------
  const homes = new Map()  // figure's name -> { group, root, document, view }
  let groups = []
  const isDark = () => document.documentElement.dataset.theme === "dark"
  let fresh = 0
  // A model that comes with a change is new each time the change is made.
  const anew = (value) => value && value.type === "object" ? { ...value, id: `new${fresh++}` } : value
  const patch = (group, changes) => {
    if (!group.document || !changes.length) return
    group.document.apply_json_patch({ events: changes.map(([id, attr, value]) =>
      ({ kind: "ModelChanged", model: { id }, attr, new: anew(value) })) })
  }
  const paints = (group) => group.dark.map(([id, attr, light, dark]) => [id, attr, isDark() ? dark : light])
  // Before a figure is drawn its colours are only written down.
  const darken = (doc, group) => {
    const wanted = new Map()
    for (const [id, attr, , dark] of group.dark) wanted.set(id, [...(wanted.get(id) ?? []), [attr, dark]])
    const walk = (value) => {
      if (value === null || typeof value !== "object") return
      if (value.type === "object" && wanted.has(value.id)) for (const [attr, dark] of wanted.get(value.id)) value.attributes[attr] = dark
      for (const inner of Object.values(value)) walk(inner)
    }
    walk(doc.roots)
  }
  const embed = async (group) => {
    const roots = {}
    for (const [name, root] of Object.entries(group.roots)) {
      const target = document.getElementById(`figure-${name}`)
      if (target) roots[root] = target.id
    }
    if (!Object.keys(roots).length) return
    const doc = structuredClone(group.doc)
    if (isDark()) darken(doc, group)
    const [views] = await Bokeh.embed.embed_items({ d: doc }, [{ docid: "d", roots, root_ids: Object.keys(roots) }])
    group.views = [...views]
    group.document = group.views[0].model.document
    if (group.state !== Object.keys(group.states)[0]) patch(group, group.states[group.state] ?? [])
    for (const [name, root] of Object.entries(group.roots)) {
      const view = group.views.find((v) => v.model.id === root)
      if (view) homes.get(name).view = view
    }
    for (const call of group.waiting.splice(0)) call()
  }
  const prepare = (figures) => {
    groups = figures.map((group) => ({ ...group, waiting: [], state: Object.keys(group.states)[0] ?? "" }))
    for (const group of groups) for (const [name, root] of Object.entries(group.roots)) homes.set(name, { group, root })
  }
  const embedAll = async () => {
    // In the order of the page; the reader can scroll, type and click between two of them.
    const order = [...document.querySelectorAll("[data-figure]")].map((e) => homes.get(e.dataset.figure)?.group)
    for (const group of new Set(order.filter(Boolean))) {
      await embed(group)
      await new Promise((go) => setTimeout(go))
    }
    document.documentElement.dataset.drawn = "true"
  }
  // Calls back with the figure's models as soon as they are there.
  const figure = (name, use) => {
    const home = homes.get(name)
    if (!home) return
    const call = () => use({ figure: home.view.model, find: (part) => home.group.document.get_model_by_name(part), view: home.view })
    if (home.group.document) call()
    else home.group.waiting.push(call)
  }
  // A figure that is drawn already hears of events only when its document knows that it listens.
  const listen = (plot, event, call) => {
    plot.figure.on_event(event, call)
    plot.figure.document.event_manager.subscribed_models.add(plot.figure)
  }
  const state = (name, wanted) => {
    const group = homes.get(name)?.group
    if (!group || !(wanted in group.states) || group.state === wanted) return
    group.state = wanted
    patch(group, group.states[wanted])
  }
  const tell = (name, wanted) => {
    const html = data.words?.[name]?.[wanted]
    // Written by the program that made this page, with everything untrusted in it escaped.
    if (html !== undefined) for (const target of document.querySelectorAll(`[data-words="${name}"]`)) target.innerHTML = html
  }

  // -- theme and paper -------------------------------------------------------------------------
  const button = document.querySelector("button.theme")
  const wish = matchMedia("(prefers-color-scheme: dark)")
  const paint = (dark) => {
    document.documentElement.dataset.theme = dark ? "dark" : "light"
    button.textContent = dark ? "Light" : "Dark"
    button.setAttribute("aria-label", dark ? "Light theme" : "Dark theme")
    for (const group of groups) patch(group, paints(group))
  }
  paint(wish.matches)
  button.hidden = false
  button.addEventListener("click", () => paint(!isDark()))
  wish.addEventListener("change", () => paint(wish.matches))

  // Colours of glyphs are worked out later by themselves; paper does not wait.
  const refresh = (view) => {
    const walk = (part) => {
      for (const glyph of part.model.type === "GlyphRenderer" ? [part.glyph, part.nonselection_glyph, part.selection_glyph] : []) {
        glyph.set_visuals(part.model.data_source, part.all_indices)
        glyph.after_visuals()
      }
      for (const inner of part.children_views()) if (inner) walk(inner)
    }
    walk(view)
    view.paint()
  }
  let before = null
  addEventListener("beforeprint", () => {
    before = isDark()
    if (before) paint(false)
    for (const group of groups) for (const view of group.views ?? []) {
      const target = document.getElementById(`figure-${Object.keys(group.roots).find((n) => group.roots[n] === view.model.id)}`)
      if (!target || !target.offsetWidth) continue
      refresh(view)
      const copy = el("canvas", { class: "paper-figure" })
      const from = view.export("png").canvas
      copy.width = from.width
      copy.height = from.height
      copy.getContext("2d").drawImage(from, 0, 0)
      copy.style.width = `${target.offsetWidth}px`
      target.after(copy)
    }
  })
  addEventListener("afterprint", () => {
    for (const copy of document.querySelectorAll(".paper-figure")) copy.remove()
    if (before) paint(true)
  })

  // -- beginning -------------------------------------------------------------------------------
  const data = {}
  const started = unpack("sway-data").then((text) => {
    const found = JSON.parse(text)
    Object.assign(data, found.data)
    prepare(found.figures)
  })
  // Scripts of the page have asked for the data by the time the document is read: they draw first.
  addEventListener("DOMContentLoaded", () => started.then(() => new Promise((go) => setTimeout(go))).then(library).then(embedAll))
  started.catch((error) => {
    const words = "The numbers of this report are compressed in a way this browser cannot read; one from 2023 or later can."
    document.getElementById("main").prepend(el("p", { class: "sway-empty", role: "alert" }, words))
    console.error(error)
  })
  const ready = (use) => started.then(() => use(data))
  return { ready, figure, listen, state, tell, el, exact, table, legend, place, number, signed, interval, percent, count, visible, tokenText, canvasText }
})()
