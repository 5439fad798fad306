// A list of runs: a box marks one, its name is a link that opens it, a button of a live one stops it, after a question
// below its row. What is marked is known to the server alone.
export function render({ model }) {
  const table = document.createElement("table")
  const caption = document.createElement("caption")
  const head = document.createElement("thead")
  const body = document.createElement("tbody")
  table.append(caption, head, body)
  const drawn = new Map()
  let asked = null
  const made = (tag, name, text) => {
    const el = document.createElement(tag)
    if (name) el.className = name
    if (text !== undefined) el.textContent = text
    return el
  }
  const box = (words, on, act) => {
    const input = document.createElement("input")
    input.type = "checkbox"
    input.checked = on
    input.setAttribute("aria-label", words)
    input.addEventListener("change", () => act(input.checked))
    return input
  }
  const plain = (event) => !(event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0)

  const drawHead = () => {
    const held = table.getRootNode().activeElement?.dataset?.key
    const row = document.createElement("tr")
    const all = made("th", "mark")
    const shown = model.items.map(([run]) => run)
    const on = shown.filter((run) => model.marked.includes(run)).length
    const every = box("Mark all runs shown", on > 0 && on === shown.length, (value) => model.send_msg({ what: "all", on: value }))
    every.indeterminate = on > 0 && on < shown.length
    every.dataset.key = "all"
    all.append(every)
    row.append(all, ...model.heads.map(([key, title, right]) => {
      const cell = made("th", key + (right ? " right" : ""))
      cell.scope = "col"
      const way = model.sort === key ? "ascending" : model.sort === "-" + key ? "descending" : "none"
      cell.setAttribute("aria-sort", way)
      const button = made("button", "", title + ({ ascending: " ↑", descending: " ↓" }[way] ?? ""))
      button.type = "button"
      button.dataset.key = "sort " + key
      button.addEventListener("click", () => model.send_msg({ what: "sort", key }))
      cell.append(button)
      return cell
    }))
    head.replaceChildren(row)
    if (held) head.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus()
  }

  // Below the run it is about; Enter on what is in focus stops it, Escape lets it go on.
  const question = made("tr", "sure")
  const ask = (run) => {
    const [stop, sure, kept, goOn] = model.words
    asked = run
    const cell = made("td")
    cell.colSpan = model.heads.length + 1
    const words = made("p")
    words.setAttribute("role", "alert")
    words.append(made("b", "", sure), " " + kept)
    const answer = (name, text, act) => {
      const button = made("button", name, text)
      button.type = "button"
      button.addEventListener("click", () => { leave(); act?.() })
      return button
    }
    const yes = answer("stop", stop, () => model.send_msg({ what: "stop", run }))
    cell.append(words, yes, answer("", goOn))
    question.replaceChildren(cell)
    drawn.get(run).row.after(question)
    yes.focus()
  }
  const leave = () => {
    const row = drawn.get(asked)?.row
    asked = null
    const held = question.contains(question.getRootNode().activeElement)
    question.remove()
    if (held) (row?.querySelector("button") ?? row?.querySelector("a"))?.focus()
  }
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return
    event.stopPropagation()
    leave()
  })

  const newRow = (run, cells, stops) => {
    const row = document.createElement("tr")
    row.dataset.run = run
    const name = cells[model.heads.findIndex(([key]) => key === "run")]
    const mark = made("td", "mark")
    mark.append(box("Mark " + name, false, (on) => model.send_msg({ what: "mark", run, on })))
    mark.addEventListener("click", (event) => event.stopPropagation())
    row.append(mark, ...cells.map((text, i) => {
      const [key, , right] = model.heads[i]
      const cell = made("td", key + (right ? " right" : ""))
      if (key !== "run") {
        cell.textContent = text
        if (key === "state" && stops) {
          const stop = made("button", "stop", model.words[0])
          stop.type = "button"
          stop.setAttribute("aria-label", model.words[0] + " " + name)
          stop.addEventListener("click", (event) => { event.stopPropagation(); ask(run) })
          cell.append(" ", stop)
        }
        return cell
      }
      const link = made("a", "", text)
      link.href = "?" + new URLSearchParams({ page: "overview", run }).toString()
      link.addEventListener("click", (event) => {
        event.stopPropagation()
        if (!plain(event)) return
        event.preventDefault()
        model.send_msg({ what: "open", run })
      })
      cell.append(link)
      return cell
    }))
    row.addEventListener("click", (event) => {
      if (plain(event) && !getSelection()?.toString()) model.send_msg({ what: "open", run })
    })
    return row
  }

  const drawMarks = () => {
    for (const [run, { row }] of drawn) {
      const on = model.marked.includes(run)
      row.classList.toggle("marked", on)
      row.querySelector("input").checked = on
    }
    drawHead()
  }

  // Rows that are as they were stay the very same elements: the focus and the text being selected stay, too.
  const draw = () => {
    caption.textContent = model.label
    const wanted = new Set(model.items.map(([run]) => run))
    if (asked !== null && !wanted.has(asked)) leave()
    for (const [run, { row }] of drawn) {
      if (wanted.has(run)) continue
      row.remove()
      drawn.delete(run)
    }
    let before = null
    for (const [run, cells, stops] of model.items) {
      if (run === asked && !stops) leave()
      const text = JSON.stringify([cells, stops])
      const old = drawn.get(run)
      let row = old?.row
      if (!old || old.text !== text) {
        const at = row && row.contains(row.getRootNode().activeElement) ? row.getRootNode().activeElement.tagName : null
        row = newRow(run, cells, stops)
        if (old) old.row.replaceWith(row)
        if (at) (row.querySelector(at) ?? row.querySelector("a")).focus()
        drawn.set(run, { row, text })
      }
      for (const each of run === asked ? [row, question] : [row]) {
        const place = before ? before.nextSibling : body.firstChild
        if (each !== place) body.insertBefore(each, place)
        before = each
      }
    }
    drawMarks()
  }

  for (const name of ["items", "heads", "label"]) model.on(name, draw)
  model.on("marked", drawMarks)
  model.on("sort", drawHead)
  draw()
  return table
}
