// Real text, one span a token: it wraps, can be selected and copied. Everything untrusted goes in as text.
const SPLIT = /(\r\n|[\n\r\t]| {2,}|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff])/
const SIGNS = { "\n": "⏎", "\r\n": "⏎", "\r": "⏎", "\t": "⇥" }

export function render({ model }) {
  const make = (tag, name, role) => {
    const el = document.createElement(tag)
    if (name) el.className = name
    if (role) el.setAttribute("role", role)
    return el
  }
  const svg = (tag, attributes) => {
    const el = document.createElementNS("http://www.w3.org/2000/svg", tag)
    for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value)
    return el
  }
  const root = make("div", "root")
  const line = make("div", "line")
  line.setAttribute("aria-hidden", "true")
  const pager = make("div", "pager")
  const text = make("div", "sway-tokens", "listbox")
  text.setAttribute("aria-orientation", "horizontal")
  const tip = make("div", "tip")
  tip.setAttribute("aria-hidden", "true")
  root.append(line, pager, text, tip)

  let spans = new Map()
  let chosen = -1

  // Signs of white space are drawn by the stylesheet, so that they are not copied.
  const pieces = (raw) => raw.split(SPLIT).filter((s) => s !== "").map((part) => {
    if (!SPLIT.test(part) && !/^ $/.test(raw)) return document.createTextNode(part)
    const el = make("span", "sign")
    if (part in SIGNS) {
      el.classList.add(part === "\t" ? "tab" : "break")
      el.dataset.sign = SIGNS[part]
      el.textContent = part === "\r" ? "\n" : part
    } else if (/^ +$/.test(part)) {
      el.classList.add("space")
      el.dataset.sign = "·".repeat(part.length)
      el.textContent = part
    } else {
      // Characters without a shape, and those that turn the direction of what follows: their code, not themselves.
      el.classList.add("code")
      el.dataset.sign = `‹${part.codePointAt(0).toString(16).toUpperCase()}›`
    }
    return el
  })

  const token = ([raw, part, special, share, label], index, signed) => {
    const el = make("span", "token", "option")
    el.dataset.i = index
    el.tabIndex = -1
    el.setAttribute("aria-label", label)
    el.setAttribute("aria-selected", "false")
    if (special) el.classList.add("special")
    if (share === null) el.classList.add("none")
    else {
      el.style.setProperty("--v", Math.abs(share))
      if (signed) el.classList.add(share < 0 ? "down" : "up")
    }
    if (raw === "") {
      const empty = make("span", "sign code")
      empty.dataset.sign = "∅"
      el.append(empty)
    } else el.append(...pieces(raw))
    return el
  }

  const draw = () => {
    const view = model.view
    const had = text.contains(text.getRootNode().activeElement)
    spans = new Map()
    const parts = [[], []]
    view.tokens.forEach((t, k) => {
      const el = token(t, view.start + k, view.signed)
      spans.set(view.start + k, el)
      parts[t[1]].push(el)
    })
    text.replaceChildren()
    text.setAttribute("aria-label", model.label)
    parts.forEach((els, k) => {
      if (!els.length) return
      const block = make("div", k ? "part said" : "part")
      block.dir = "auto"
      if (k) block.dataset.name = model.said
      block.append(...els)
      text.append(block)
    })
    drawLine()
    drawPager()
    chosen = -1
    choose(view.chosen, false)
    if (had) spans.get(chosen)?.focus({ preventScroll: true })
  }

  const drawLine = () => {
    const { line: values, peaks, total, start, tokens } = model.view
    line.replaceChildren()
    if (total < 40) return
    const n = values.length
    const box = svg("svg", { viewBox: `0 0 ${n} 1`, preserveAspectRatio: "none" })
    if (tokens.length < total) box.append(svg("rect", { class: "sight", x: start / total * n, width: tokens.length / total * n, y: 0, height: 1 }))
    const path = values.map((v, i) => `M${i} 1V${1 - v}H${i + 1}V1Z`).join("")
    box.append(svg("path", { d: path }))
    line.append(box)
    for (const i of peaks) {
      const sign = make("span", "peak")
      sign.textContent = "▼"
      sign.style.left = `${(i + 0.5) / total * 100}%`
      line.append(sign)
    }
    const here = make("span", "here")
    line.append(here)
  }

  const drawPager = () => {
    const { total, start, tokens } = model.view
    pager.replaceChildren()
    if (tokens.length === total) return
    const words = make("span")
    words.textContent = `tokens ${(start + 1).toLocaleString("en")} to ${(start + tokens.length).toLocaleString("en")} of ${total.toLocaleString("en")}`
    for (const [sign, name, to] of [["‹", "earlier tokens", start - 1], ["›", "later tokens", start + tokens.length]]) {
      const button = make("button")
      button.type = "button"
      button.textContent = sign
      button.setAttribute("aria-label", name)
      button.disabled = to < 0 || to >= total
      button.addEventListener("click", () => model.send_msg({ type: "token", token: to }))
      pager.append(button)
    }
    pager.insertBefore(words, pager.lastChild)
  }

  const choose = (index, reveal) => {
    const before = spans.get(chosen)
    if (before) {
      before.classList.remove("open")
      before.setAttribute("aria-selected", "false")
      before.tabIndex = -1
    }
    chosen = index
    const now = spans.get(index)
    const stop = now ?? spans.values().next().value
    if (stop) stop.tabIndex = 0
    if (!now) return
    now.classList.add("open")
    now.setAttribute("aria-selected", "true")
    const here = line.querySelector(".here")
    if (here) here.style.left = `${(index + 0.5) / model.view.total * 100}%`
    if (reveal) {
      if (text.contains(text.getRootNode().activeElement)) now.focus({ preventScroll: true })
      now.scrollIntoView({ block: "nearest" })
    }
  }

  const tell = (index) => {
    if (index === chosen) return
    choose(index, true)
    model.send_msg({ type: "token", token: index })
  }

  const show = (el) => {
    tip.textContent = el.getAttribute("aria-label")
    tip.style.display = "block"
    const frame = root.getBoundingClientRect()
    const at = el.getClientRects()[0]
    const left = Math.min(Math.max(0, at.left - frame.left), Math.max(0, frame.width - tip.offsetWidth))
    tip.style.left = `${left}px`
    tip.style.top = `${at.top - frame.top - tip.offsetHeight - 4}px`
  }
  const hide = () => { tip.style.display = "none" }
  const tokenOf = (event) => event.target instanceof Element ? event.target.closest(".token") : null

  text.addEventListener("mouseover", (event) => { const el = tokenOf(event); if (el) show(el); else hide() })
  text.addEventListener("mouseleave", hide)
  text.addEventListener("focusin", (event) => { const el = tokenOf(event); if (el?.matches(":focus-visible")) show(el) })
  text.addEventListener("focusout", hide)
  text.addEventListener("click", (event) => {
    const el = tokenOf(event)
    const marked = text.getRootNode().getSelection?.() ?? document.getSelection()
    // Whoever marks text to copy it chooses no token.
    if (!el || (marked && !marked.isCollapsed && marked.toString() !== "")) return
    tell(Number(el.dataset.i))
    el.focus({ preventScroll: true })
  })
  text.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const { start, tokens, total } = model.view
    const rtl = tokenOf(event) && getComputedStyle(tokenOf(event).parentElement).direction === "rtl"
    const to = {
      ArrowRight: chosen + (rtl ? -1 : 1), ArrowLeft: chosen - (rtl ? -1 : 1), ArrowDown: chosen + 1, ArrowUp: chosen - 1,
      Home: 0, End: total - 1,
    }[event.key]
    if (to === undefined) return
    event.preventDefault()
    event.stopPropagation()
    const index = Math.min(Math.max(to, 0), total - 1)
    if (index >= start && index < start + tokens.length) tell(index)
    else model.send_msg({ type: "token", token: index })
  })
  line.addEventListener("click", (event) => {
    const frame = line.getBoundingClientRect()
    const { total } = model.view
    const index = Math.floor((event.clientX - frame.left) / frame.width * total)
    model.send_msg({ type: "token", token: Math.min(Math.max(index, 0), total - 1) })
  })

  model.on("view", draw)
  model.on("chosen", () => { if (model.chosen !== chosen) choose(model.chosen, true) })
  draw()
  return root
}
