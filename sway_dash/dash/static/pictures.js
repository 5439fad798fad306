// Draws the figures of the page once more, as vectors, and lets the browser save them.
const NS = "http://www.w3.org/2000/svg"
const FONT = "Roboto, 'Helvetica Neue', Arial, sans-serif"
const EDGE = 12
const SHARP = 2

function* views(view) {
  yield view
  for (const child of view.children?.() ?? []) yield* views(child)
}

const find = (id) => {
  for (const root of Bokeh.index.roots) {
    for (const view of views(root)) if (view.model.id === id) return view
  }
  return null
}

// What is folded away, or on another page, has no box.
const inSight = (view) => view?.el?.checkVisibility?.() && view.el.getBoundingClientRect().width > 0

const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true })

// The colour of the light theme for one of the dark; greys that belong to no token change sides.
const onPaper = (text, paper) => {
  if (!text || text === "none" || text.startsWith("url(")) return text
  pen.fillStyle = "#000001"
  pen.fillStyle = text
  const found = pen.fillStyle
  const [r, g, b, a = 1] = found.startsWith("#")
    ? [1, 3, 5].map((at) => parseInt(found.slice(at, at + 2), 16))
    : found.match(/[\d.]+/g).map(Number)
  const known = paper.get((r << 16) | (g << 8) | b)
  const grey = Math.max(r, g, b) - Math.min(r, g, b) < 24
  const [x, y, z] = known ?? (grey ? [255 - r, 255 - g, 255 - b] : [r, g, b])
  return `rgba(${x}, ${y}, ${z}, ${a})`
}

const triple = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16))

// Lines that fit, words kept whole; a word that is too long alone is cut.
const lines = (parts, font, width, between) => {
  pen.font = font
  const fits = (text) => pen.measureText(text).width <= width
  const found = []
  for (let part of parts) {
    while (part.length > 8 && !fits(part)) part = `${[...part.replace(/…$/, "")].slice(0, -4).join("")}…`
    const last = found.at(-1)
    if (last !== undefined && fits(last + between + part)) found[found.length - 1] = last + between + part
    else found.push(part)
  }
  return found
}

const made = (name, attributes, text) => {
  const element = document.createElementNS(NS, name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  if (text !== undefined) element.textContent = text
  return element
}

// The legend as rows that fit: every entry with its place from the left, pixels.
const SWATCH = 20
const legendRows = (marks, width) => {
  const rows = []
  let x = Infinity
  for (const [sign, colour, text] of marks) {
    pen.font = `12px ${FONT}`
    const room = (sign.length > 2 ? SWATCH : 12) + 6 + pen.measureText(text).width
    if (x + room > width) {
      rows.push([])
      x = 0
    }
    rows.at(-1).push({ sign, colour, text, x })
    x += room + 16
  }
  return rows
}

// The same marks as in assets/style.css; what is not a kind of line or area is a character.
const DASHES = { line: "", dash: "8 4", dot: "2 3", dashdot: "7 2 2 2" }
const swatch = (sign, colour, x, y) => {
  if (sign === "bar") return made("rect", { x, y: y - 8, width: SWATCH, height: 8, rx: 4, fill: colour, "fill-opacity": 0.5 })
  if (sign === "hatch") {
    const strokes = [0, 5, 10].map((at) => `M${x + at} ${y}l8 -8`).join("")
    return made("path", { d: strokes, stroke: colour, fill: "none" })
  }
  if (sign in DASHES) {
    return made("path", { d: `M${x} ${y - 4}h${SWATCH}`, stroke: colour, "stroke-width": 2, "stroke-dasharray": DASHES[sign], fill: "none" })
  }
  return made("text", { x, y, "font-size": 12, fill: colour }, sign)
}

const drawn = async ({ id, title, about }, model) => {
  const view = find(id)
  if (!inSight(view)) throw new Error("it is not in sight any more")
  const blob = await view.export("svg").to_blob()
  const inner = new DOMParser().parseFromString(await blob.text(), "image/svg+xml").documentElement
  if (inner.querySelector("parsererror") || inner.localName !== "svg") throw new Error("the browser could not draw it")
  const width = Number(inner.getAttribute("width"))
  const height = Number(inner.getAttribute("height"))
  if (model.dark) {
    const paper = new Map(Object.entries(model.paper).map(([dark, light]) => {
      const [r, g, b] = triple(dark)
      return [(r << 16) | (g << 8) | b, triple(light)]
    }))
    for (const element of inner.querySelectorAll("*")) {
      for (const name of ["fill", "stroke", "stop-color"]) {
        if (element.hasAttribute(name)) element.setAttribute(name, onPaper(element.getAttribute(name), paper))
      }
    }
  }
  // Where the reader's fonts are others, texts keep the room they were given.
  for (const text of inner.querySelectorAll("text")) {
    if (text.getAttribute("fill") === "none" && text.getAttribute("stroke-opacity") === "0") {
      text.remove()  // an outline that nobody sees
      continue
    }
    const [style, weight, size, family] = ["style", "weight", "size", "family"].map((n) => text.getAttribute(`font-${n}`) ?? "")
    pen.font = `${style} ${weight} ${size} ${family}`
    const room = pen.measureText(text.textContent).width
    if (room > 0) text.setAttribute("textLength", room.toFixed(2))
    text.setAttribute("lengthAdjust", "spacingAndGlyphs")
  }
  const head = lines(title.split(" "), `500 15px ${FONT}`, width - 2 * EDGE, " ")
  const foot = lines(model.footer, `11px ${FONT}`, width - 2 * EDGE, " · ")
  const top = EDGE + 20 * head.length + 4
  const signs = legendRows(model.marks[id] ?? [], width - 2 * EDGE)
  const under = top + height + 18 * signs.length
  const whole = under + 4 + 15 * foot.length + EDGE
  const root = made("svg", {
    xmlns: NS, width, height: whole, viewBox: `0 0 ${width} ${whole}`, role: "img", "font-family": FONT,
  })
  root.append(made("title", {}, title), made("desc", {}, `${about}\n${model.footer.join(" · ")}`))
  root.append(made("rect", { width, height: whole, fill: "#FFFFFF" }))
  head.forEach((text, i) => root.append(
    made("text", { x: EDGE, y: EDGE + 14 + 20 * i, "font-size": 15, "font-weight": 500, fill: "#1B222B" }, text)))
  inner.setAttribute("y", top)
  root.append(document.importNode(inner, true))
  signs.forEach((row, i) => row.forEach(({ sign, colour, text, x }) => {
    const [left, y] = [EDGE + x, top + height + 14 + 18 * i]
    const room = sign.length > 2 ? SWATCH : 12
    root.append(swatch(sign, colour, left, y), made("text", { x: left + room + 6, y, "font-size": 12, fill: "#57606B" }, text))
  }))
  foot.forEach((text, i) => root.append(
    made("text", { x: EDGE, y: under + 14 + 15 * i, "font-size": 11, fill: "#57606B" }, text)))
  const text = new XMLSerializer().serializeToString(root)
  return { blob: new Blob([text], { type: "image/svg+xml" }), width, height: whole }
}

const rastered = async ({ blob, width, height }) => {
  const image = new Image()
  image.src = URL.createObjectURL(blob)
  try {
    await image.decode()
    const canvas = document.createElement("canvas")
    canvas.width = SHARP * width
    canvas.height = SHARP * height
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height)
    return await new Promise((resolve, reject) => {
      canvas.toBlob((found) => (found ? resolve(found) : reject(new Error("it is too large for the browser"))), "image/png")
    })
  } finally {
    URL.revokeObjectURL(image.src)
  }
}

const save = (blob, name) => {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

export function render({ model }) {
  const list = document.createElement("ul")
  const said = document.createElement("p")
  said.className = "sway-caption"
  said.setAttribute("role", "status")

  const button = (item, format) => {
    const made = document.createElement("button")
    made.type = "button"
    made.textContent = format.toUpperCase()
    made.setAttribute("aria-label", `${item.title} as ${format.toUpperCase()}`)
    made.addEventListener("click", async () => {
      try {
        const picture = await drawn(item, model)
        save(format === "svg" ? picture.blob : await rastered(picture), `${item.file}.${format}`)
        said.textContent = `${item.file}.${format} is saved.`
      } catch (error) {
        said.textContent = `${item.title} cannot be saved: ${error.message}.`
      }
    })
    return made
  }

  const draw = () => {
    said.textContent = ""
    const items = model.items.map(([id, title, about, file]) => ({ id, title, about, file }))
    const shown = items.filter((item) => inSight(find(item.id)))
    list.replaceChildren(...shown.map((item) => {
      const row = document.createElement("li")
      const name = document.createElement("span")
      name.textContent = item.title
      row.append(name, button(item, "svg"), button(item, "png"))
      return row
    }))
    if (!shown.length) said.textContent = "No figure is in sight on this page."
  }

  model.on("items", draw)
  draw()
  const root = document.createElement("div")
  root.append(list, said)
  return root
}
