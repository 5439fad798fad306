// The open prompt: its text token by token, what both models expected at one of them, what they said, its numbers.
"use strict"
sway.ready((data) => {
  const { el, number, signed, place, tokenText } = sway
  const all = data.prompts
  const pane = document.querySelector("#prompts .pane")
  if (!pane) return
  const SHOWN = 10, MOST = 1500, REST = "all other tokens"
  const SPLIT = /(\r\n|[\n\r\t]| {2,}|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff])/
  const SIGNS = { "\n": "⏎", "\r\n": "⏎", "\r": "⏎", "\t": "⇥" }
  const PLACES = { above: "▲ above all random adapters", inside: "○ inside their range", none: "◇ no random adapters", failed: "✕ could not be measured" }
  const state = { row: null, detail: null, token: -1, hover: -1, layer: "js", by: "change" }
  let spans = []

  // Choices of all positions stand in a row, their probabilities as digits and exponents.
  const unfold = (raw) => {
    let at = 0
    const numbers = ([digits, exponents]) => digits.map((m, k) => Number(`${m}e${exponents[k]}`))
    const rows = { c: raw.c, b: numbers(raw.b), t: numbers(raw.t) }
    const parts = { c: [], b: [], t: [] }
    for (const n of raw.k) {
      for (const name of ["c", "b", "t"]) parts[name].push(rows[name].slice(at, at + n))
      at += n
    }
    return { ...raw, ...parts }
  }
  const text = (i) => all.words[state.detail.w[i]]
  const heat = (i, layer = state.layer) => {
    const d = state.detail
    if (layer !== "delta") return d[layer][i]
    return d.bl[i] === null || d.tl[i] === null ? null : d.tl[i] - d.bl[i]
  }
  // Likeliest first under either model, as places in a token's choices.
  const order = (i, by, most) => {
    const { b, t } = state.detail
    const key = { change: (k) => Math.abs(t[i][k] - b[i][k]), probability: (k) => Math.max(t[i][k], b[i][k]), kl: (k) => { const v = term(i, k); return v === null ? Infinity : Math.abs(v) } }[by]
    return state.detail.c[i].map((_, k) => k).sort((x, y) => key(y) - key(x) || x - y).slice(0, most)
  }
  const term = (i, k) => {
    const b = state.detail.b[i][k], t = state.detail.t[i][k]
    return t <= 0 ? 0 : b > 0 ? t * Math.log(t / b) : null
  }
  const likeliest = (i, side) => state.detail[side][i].reduce((best, p, k, list) => p > list[best] ? k : best, 0)
  const choice = (i, k) => tokenText(all.words[state.detail.c[i][k]])
  const spoken = (i) => {
    const d = state.detail, name = `token ${i + 1} '${tokenText(text(i))}'`
    if (d.js[i] === null) return `${name}, ${d.special.includes(i) ? "a special token" : "not predicted"}: nothing stands before it`
    const change = heat(i, "delta")
    const value = { js: `JS ${number(d.js[i], "nats")}`, kl: `KL ${number(d.kl[i], "nats")}`, delta: `change of its log-probability ${change === null ? "unknown" : signed(change, "nats")}` }[state.layer]
    if (!d.c[i].length) return `${name}, ${value}`
    return `${name}, ${value}, base expected '${choice(i, likeliest(i, "b"))}', tuned expected '${choice(i, likeliest(i, "t"))}'`
  }

  // -- the text --------------------------------------------------------------------------------
  // Signs of white space are drawn by the stylesheet, so that they are not copied.
  const pieces = (raw) => raw === "" ? [el("span", { class: "sign code", "data-sign": "∅" })] : raw.split(SPLIT).filter((s) => s !== "").map((part) => {
    if (!SPLIT.test(part) && raw !== " ") return part
    if (part in SIGNS) return el("span", { class: part === "\t" ? "sign tab" : "sign break", "data-sign": SIGNS[part] }, part === "\r" ? "\n" : part)
    if (/^ +$/.test(part)) return el("span", { class: "sign space", "data-sign": "·".repeat(part.length) }, part)
    return el("span", { class: "sign code", "data-sign": `‹${part.codePointAt(0).toString(16).toUpperCase()}›` })
  })
  const drawText = () => {
    const d = state.detail, end = all.scale[state.layer], parts = [[], []]
    spans = d.w.slice(0, MOST).map((_, i) => {
      const value = heat(i)
      const share = value === null || !Number.isFinite(value) ? null : end > 0 ? Math.max(-1, Math.min(value / end, 1)) : 0
      const kind = share === null ? "none" : state.layer !== "delta" ? "" : share < 0 ? "down" : "up"
      const span = el("span", { class: `token ${kind} ${d.special.includes(i) ? "special" : ""}`, role: "option", tabindex: -1, "data-i": i, "aria-label": spoken(i), "aria-selected": "false" }, pieces(all.words[d.w[i]]))
      if (share !== null) span.style.setProperty("--v", Math.abs(share).toFixed(3))
      parts[i < d.said ? 0 : 1].push(span)
      return span
    })
    const box = el("div", { class: "sway-tokens", role: "listbox", "aria-orientation": "horizontal", "aria-label": "The text, token by token" },
      parts.map((found, k) => found.length ? el("div", { class: k ? "part said" : "part", dir: "auto", "data-name": k ? "Tuned goes on (greedy):" : null }, found) : null))
    const tip = el("div", { class: "tip", "aria-hidden": "true" })
    const show = (span) => {
      state.hover = Number(span.dataset.i)
      tip.textContent = span.getAttribute("aria-label")
      tip.style.display = "block"
      const frame = box.parentElement.getBoundingClientRect(), at = span.getClientRects()[0]
      tip.style.left = `${Math.min(Math.max(0, at.left - frame.left), Math.max(0, frame.width - tip.offsetWidth))}px`
      tip.style.top = `${at.top - frame.top - tip.offsetHeight - 4}px`
      drawPosition(state.hover)
    }
    const hide = () => {
      tip.style.display = "none"
      if (state.hover !== -1) drawPosition(state.token)
      state.hover = -1
    }
    const of = (event) => event.target instanceof Element ? event.target.closest(".token") : null
    box.addEventListener("mouseover", (event) => { const span = of(event); if (span) show(span) })
    box.addEventListener("mouseleave", hide)
    box.addEventListener("focusin", (event) => { const span = of(event); if (span?.matches(":focus-visible")) show(span) })
    box.addEventListener("focusout", hide)
    box.addEventListener("click", (event) => {
      const span = of(event)
      // Whoever marks text to copy it chooses no token.
      if (span && document.getSelection().isCollapsed) choose(Number(span.dataset.i), false)
    })
    box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key]
      if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return
      event.preventDefault()
      choose(Math.min(Math.max(state.token + step, 0), spans.length - 1), true)
    })
    pane.querySelector(".token-place").replaceChildren(box, tip)
    drawLegend(end)
  }
  const drawLegend = (end) => {
    const delta = state.layer === "delta"
    const ramp = el("span", { class: "sway-ramp" })
    ramp.style.background = `linear-gradient(90deg, ${(delta ? ["var(--sway-base)", "transparent", "var(--sway-tuned)"] : ["transparent", "var(--sway-heat)"]).join(", ")})`
    const meaning = {
      js: "how differently the two models predicted this token from the text before it (JS).",
      kl: "how differently the two models predicted this token from the text before it (KL of tuned from base).",
      delta: "how much likelier this very token became with the adapter, as the change of its log-probability.",
    }[state.layer]
    const bars = delta ? "Bar above: less likely with the adapter, bar below: more likely." : "The bar below a token grows with it."
    const { tokens, n } = all.scale
    place("heat-legend").replaceChildren(
      el("p", { class: "sway-caption sway-num" }, delta ? `−${number(end, "nats")} ` : "0 ", ramp, ` ${delta ? "+" : ""}${number(end, "nats")}`),
      el("p", { class: "sway-caption" }, `Colour on a token: ${meaning} ${bars} The scale ends at the 99th percentile of ${sway.count(tokens, "token")} in ${sway.count(n, "recorded prompt")}; hatched: no prediction.` +
        (state.detail.w.length > MOST ? ` The first ${MOST.toLocaleString("en")} of ${state.detail.w.length.toLocaleString("en")} tokens are shown.` : "")))
  }
  const choose = (i, focus) => {
    if (spans[state.token]) {
      spans[state.token].classList.remove("open")
      spans[state.token].setAttribute("aria-selected", "false")
      spans[state.token].tabIndex = -1
    }
    state.token = i
    const span = spans[i]
    if (!span) return
    span.classList.add("open")
    span.setAttribute("aria-selected", "true")
    span.tabIndex = 0
    if (focus) span.focus({ preventScroll: true })
    drawPosition(i)
  }

  // -- one position ----------------------------------------------------------------------------
  const plots = { tokens: null, terms: null }
  for (const name of ["tokens", "terms"]) sway.figure(name, (plot) => { plots[name] = plot; again() })
  const axis = (figure, labels) => {
    const left = figure.left[0], n = Math.max(labels.length, 1)
    left.ticker.ticks = labels.map((_, k) => -k)
    left.major_label_overrides = new Map(labels.map((label, k) => [-k, sway.canvasText(label, 20)]))
    figure.height = 22 * n + 76
    figure.y_range.setv({ start: -(n - 0.3), end: 0.7 })
  }
  const drawTokens = (rows, says) => {
    const plot = plots.tokens
    if (!plot) return
    const column = (f) => rows.map(f)
    plot.find("tokens").data = {
      label: column((r) => r.label), id: column((r) => r.id), y: column((_, k) => -k), base: column((r) => r.base), tuned: column((r) => r.tuned),
      base_text: column((r) => r.texts[0]), tuned_text: column((r) => r.texts[1]), change: column((r) => r.change), rank: column((r) => r.rank),
    }
    axis(plot.figure, rows.map((r) => r.label))
    const most = Math.max(...rows.flatMap((r) => [r.base, r.tuned]).filter((v) => v === v), 0) || 1, end = Math.min(1.02, 1.1 * most)
    plot.figure.x_range.setv({ start: -0.02 * end, end, reset_start: -0.02 * end, reset_end: end })
    plot.figure.html_attributes = new Map([["role", "img"], ["aria-label", says]])
  }
  const drawTerms = (i) => {
    const plot = plots.terms
    if (!plot) return
    const kl = state.detail.kl[i]
    const found = state.detail.c[i].map((_, k) => [k, term(i, k)]).filter(([, v]) => v !== null)
      .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, SHOWN - 1).sort((a, b) => b[1] - a[1])
    const rows = found.map(([k, v]) => [choice(i, k), v])
    rows.push([REST, kl - rows.reduce((sum, [, v]) => sum + v, 0)])
    const out = { label: [], y: [], left: [], right: [], side: [], text: [], sum_text: [] }
    let total = 0
    rows.forEach(([label, v], k) => {
      const start = total, last = k === rows.length - 1
      total += v
      out.label.push(label)
      out.y.push(-k)
      out.left.push(Math.min(start, total))
      out.right.push(Math.max(start, total))
      out.side.push(last ? "rest" : v >= 0 ? "up" : "down")
      out.text.push(signed(v, "nats"))
      out.sum_text.push(number(last ? kl : total, "nats"))
    })
    plot.find("terms").data = out
    plot.find("total").location = kl
    axis(plot.figure, out.label)
    const lo = Math.min(0, ...out.left), hi = Math.max(kl, ...out.right), room = 0.06 * ((hi - lo) || 1)
    plot.figure.x_range.setv({ start: lo - room, end: hi + room, reset_start: lo - room, reset_end: hi + room })
    plot.figure.html_attributes = new Map([["role", "img"], ["aria-label", `Parts of the KL of ${number(kl, "nats")}: ${rows.map(([label, v]) => `${label} ${signed(v, "nats")}`).join("; ")}`]])
  }
  const ranks = (i, k) => ["b", "t"].map((side) => {
    // The choices hold the likeliest tokens of both sides: the first half of either order is complete.
    const list = state.detail[side][i], rank = 1 + list.filter((p) => p > list[k]).length
    return rank <= (list.length + 1) >> 1 ? `${rank}` : `≥ ${rank}`
  }).join(" → ")
  const shownPosition = (dumbbell, terms) => {
    pane.querySelector(".plot-tokens").hidden = !dumbbell
    pane.querySelector(".plot-terms").hidden = !terms
    pane.querySelector(".plot-tokens .controls").hidden = !terms
  }
  const drawPosition = (i) => {
    const d = state.detail
    if (!d || i < 0 || i >= d.w.length) return
    const name = `Token ${i + 1} of ${d.w.length}: ${tokenText(text(i))}`
    if (d.js[i] === null) {
      shownPosition(false, false)
      place("position").replaceChildren(el("h3", { class: "sway-h2" }, name), el("p", { class: "sway-caption" }, "Nothing stands before this token: there is no prediction of it."))
      place("twin").replaceChildren()
      return
    }
    const change = heat(i, "delta")
    place("position").replaceChildren(el("h3", { class: "sway-h2" }, name), el("p", { class: "sway-caption" },
      i === d.said ? "the next token after the prompt; " : "", "JS ", sway.exact(d.js[i], "nats"), "; KL(tuned‖base) ", sway.exact(d.kl[i], "nats"),
      "; KL(base‖tuned) ", sway.exact(d.klr[i], "nats"), change === null ? "" : `; log-probability of this token ${signed(change, "nats")}`))
    const top = order(i, state.by, SHOWN)
    const rows = top.map((k) => {
      const b = d.b[i][k], t = d.t[i][k], v = term(i, k), id = all.ids[d.c[i][k]]
      return { label: choice(i, k), id: String(id), base: b, tuned: t, texts: [number(b), number(t)], change: signed(t - b), rank: ranks(i, k), term: v === null ? "∞" : signed(v) }
    })
    if (top.length) {
      const [b, t] = ["b", "t"].map((side) => Math.max(0, 1 - top.reduce((sum, k) => sum + d[side][i][k], 0)))
      rows.push({ label: REST, id: "", base: b, tuned: t, texts: [number(b), number(t)], change: signed(t - b), rank: "", term: "" })
    }
    shownPosition(rows.length > 0, rows.length > 0)
    drawTokens(rows, `Probabilities of ${sway.count(rows.length, "row")} under base and tuned. ${name}.`)
    drawTerms(i)
    drawTwin(rows, true)
  }
  const drawTwin = (rows, terms) => {
    const open = place("twin").querySelector("details")?.open
    const head = ["Token", "Id", "Base", "Tuned", "Change", "Rank base → tuned", ...(terms ? ["Part of KL"] : [])]
    const cells = rows.map((r) => [r.label, r.id, sway.exact(r.base), sway.exact(r.tuned), r.change, r.rank, ...(terms ? [r.term] : [])])
    place("twin").replaceChildren(el("details", { class: "twin", open }, el("summary", {}, "As a table"), sway.table(head, cells, [1, 2, 3, 4, 5, 6])))
  }
  // Of a prompt that was not recorded token by token there are the likely next tokens.
  const drawNext = (row) => {
    const sides = [row.base, row.tuned].map((top) => {
      const found = new Map()
      for (let k = 0; k < top.length; k += 2) found.set(top[k], [top[k + 1], k / 2 + 1])
      return found
    })
    const words = [...new Set([...sides[0].keys(), ...sides[1].keys()])]
    const rows = words.map((w) => {
      const [b, t] = sides.map((side) => side.get(w)?.[0] ?? NaN)
      const places = sides.map((side) => side.has(w) ? `${side.get(w)[1]}` : `> ${side.size}`)
      const told = (p) => p === p ? number(p) : "not among the likeliest"
      return { label: tokenText(all.words[w]), id: String(all.ids[w]), base: b, tuned: t, texts: [told(b), told(t)], change: b === b && t === t ? signed(t - b) : "not known", rank: places.join(" → "), size: Math.abs((b || 0) - (t || 0)) }
    }).sort((a, b) => b.size - a.size).slice(0, SHOWN)
    shownPosition(rows.length > 0, false)
    place("position").replaceChildren(el("h3", { class: "sway-h2" }, "Next token"), el("p", { class: "sway-caption" }, rows.length ? "The likeliest tokens after the prompt, of both models." : "No likely tokens were recorded."))
    if (rows.length) {
      drawTokens(rows, `Probabilities of ${sway.count(rows.length, "token")} after the prompt, under base and tuned.`)
      drawTwin(rows, false)
    } else place("twin").replaceChildren()
  }
  const again = () => {
    if (!state.row) return
    if (state.detail) drawPosition(state.token)
    else if (state.row.i >= 0) drawNext(state.row)
  }

  // -- what they said, and the numbers ----------------------------------------------------------
  const readable = (raw) => raw.split(/([\n\t])/).map((part) => /^[\n\t]$/.test(part) ? part : sway.visible(part)).join("")
  const drawSays = () => {
    const [base, tuned] = state.detail?.says ?? [[], []]
    if (!base.length && !tuned.length) return place("says").replaceChildren()
    let at = base.findIndex((t, i) => i < tuned.length && t !== tuned[i])
    if (at < 0) at = base.length === tuned.length ? -1 : Math.min(base.length, tuned.length)
    const words = at < 0 ? `Both say the same ${base.length} tokens.` : at === 0 ? "They differ from the first token on." : `The same until token ${at}; they differ from token ${at + 1} on.`
    const said = (tokens) => {
      if (at < 0) return [readable(tokens.join(""))]
      const here = tokens[at]
      return [readable(tokens.slice(0, at).join("")), el("mark", { class: "sway-differs", title: here === undefined ? "ends here" : null }, here === undefined ? "▮" : readable(here)), readable(tokens.slice(at + 1).join(""))]
    }
    const side = (name, tone, tokens) => {
      const head = el("h4", { class: "sway-kicker" }, name)
      head.style.color = `var(--sway-${tone})`
      return el("div", {}, head, el("div", { class: "sway-prompt", dir: "auto" }, said(tokens)))
    }
    place("says").replaceChildren(el("h3", { class: "sway-h2" }, "What they say next (greedy)"), el("p", { class: "sway-caption" }, words),
      el("div", { class: "sway-sides" }, side("Base", "base", base), side("Tuned", "tuned", tuned)))
  }
  const drawFacts = (row) => {
    const s = prompts.series(), i = row.i
    if (i < 0) return place("facts").replaceChildren()
    const lines = [["JS", sway.exact(row.js, "nats")], ["KL(tuned‖base)", sway.exact(row.kl, "nats")], ["KL(base‖tuned)", sway.exact(s.klr[i], "nats")]]
    for (const [metric, name] of [["js", "JS"], ["kl", "KL"]]) if (s[metric].draws[i])
      lines.push([`Random adapters, ${name}`, [sway.exact(s[metric].lo[i]), " to ", sway.exact(s[metric].hi[i], "nats"), `; above ${s[metric].below[i]} of ${s[metric].draws[i]}`]])
    lines.push(["Positions", `${s.n[i].toLocaleString("en")}${s.n[i] === 1 ? " (the next token)" : ""}`])
    if (s.n[i] > 1) lines.push(["Same top token", `on ${sway.percent(s.same[i])} of the positions`])
    lines.push(["95 % interval of JS over positions", s.ci[i] ? [sway.exact(s.ci[i][0]), " to ", sway.exact(s.ci[i][1], "nats")] : s.n[i] === 1 ? "none: one position" : "none: too few positions"])
    lines.push(["Computed", s.exact[i] ? "over the whole vocabulary" : `from the likeliest tokens, ± ${number(s.bound[i], "nats")}`])
    const cut = Math.max(s.cut[i], state.detail?.cut ?? 0)
    if (cut) lines.push(["Left out", `${sway.count(cut, "token")} from the beginning: the prompt is too long for the model`])
    place("facts").replaceChildren(el("h3", { class: "sway-h2" }, "Numbers"), sway.table(["", ""], lines))
  }

  // -- opening ---------------------------------------------------------------------------------
  const narrow = matchMedia("(max-width: 960px)")
  let begun = false
  prompts.show = (row) => {
    pane.hidden = !row
    // Where there is one column the open prompt is far below what was clicked.
    if (row && begun && narrow.matches) pane.scrollIntoView({ block: "start" })
    begun = true
    if (!row) return
    const s = prompts.series(), raw = prompts.text(row)
    state.row = row
    state.detail = row.i >= 0 && s.detail[row.i] >= 0 ? unfold(all.details[s.detail[row.i]]) : null
    state.token = state.hover = -1
    prompts.moved()
    pane.querySelector("[data-place=heat]").hidden = !state.detail
    if (state.detail) {
      place("text").replaceChildren()
      drawText()
      const d = state.detail
      const last = d.js.reduce((found, v, i) => v === null ? found : i, 0)
      choose(d.said < d.w.length ? d.said : last, false)
    } else {
      const said = row.i >= 0 ? s.said[row.i] : ""
      place("text").replaceChildren(el("div", { class: "sway-prompt sway-long", dir: "auto", tabindex: 0 }, readable(raw.slice(0, 20000))),
        ...(said ? [el("p", { class: "sway-caption" }, "Measured along this continuation:"), el("div", { class: "sway-prompt", dir: "auto" }, readable(said))] : []),
        row.error ? el("p", { class: "sway-caption", role: "alert" }, `Not measured: ${row.error}`) : el("p", { class: "sway-caption" }, "This prompt was not recorded token by token."))
      if (row.i >= 0) drawNext(row)
      else {
        shownPosition(false, false)
        for (const name of ["position", "twin"]) place(name).replaceChildren()
      }
    }
    drawSays()
    drawFacts(row)
  }
  prompts.moved = () => {
    const row = state.row
    if (!row) return
    const [at, n] = prompts.where()
    const tags = row.tags.map((t) => sway.visible(all.tags[t])).join(", ")
    place("pane-head").replaceChildren(el("h3", { class: "sway-h2" }, `Prompt ${row.item + 1}`),
      el("p", { class: "sway-caption" }, [at < 0 ? "not shown" : `${(at + 1).toLocaleString("en")} of ${n.toLocaleString("en")}`, PLACES[row.status], tags].filter(Boolean).join(" · ")))
    pane.querySelector("[data-act=previous]").disabled = at === 0
    pane.querySelector("[data-act=next]").disabled = at === n - 1
  }
  pane.querySelector("[data-act=previous]").addEventListener("click", () => prompts.step(-1))
  pane.querySelector("[data-act=next]").addEventListener("click", () => prompts.step(1))
  pane.querySelector("[data-choice=layer]").addEventListener("change", (event) => {
    state.layer = event.target.value
    const token = state.token
    drawText()
    choose(token, false)
  })
  pane.querySelector("[data-choice=by]").addEventListener("change", (event) => { state.by = event.target.value; again() })
  prompts.begin?.()
})
