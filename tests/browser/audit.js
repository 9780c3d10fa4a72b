// What a page is like to read, and to use without a mouse; run in the page by the tests.
window.audit = (() => {
  // A node's parent as it is drawn, through shadow roots.
  const above = node => node.assignedSlot ?? node.parentElement ?? node.getRootNode().host ?? null
  const line = function* (node) { for (let at = node; at; at = above(at)) yield at }
  const every = function* (root = document) {
    for (const node of root.querySelectorAll("*")) {
      yield node
      if (node.shadowRoot) yield* every(node.shadowRoot)
    }
  }
  const seen = node => {
    const box = node.getBoundingClientRect()
    return box.width > 0 && box.height > 0
      && node.checkVisibility({visibilityProperty: true, opacityProperty: true})
  }
  const describe = node => {
    const where = [...line(node)].slice(0, 3).map(at => `${at.localName}.${at.classList[0] ?? ""}`)
    return `${(node.textContent || node.value || "").trim().slice(0, 40)} <${where.join(" < ")}>`
  }

  // Colours: [red, green, blue, opacity]
  const pen = document.createElement("canvas").getContext("2d", {willReadFrequently: true})
  const read = color => {
    pen.clearRect(0, 0, 1, 1)
    pen.fillStyle = color
    pen.fillRect(0, 0, 1, 1)
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data
    return [r, g, b, a / 255]
  }
  const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]))
  const ground = node => {
    const layers = []
    for (const at of line(node)) layers.unshift(read(getComputedStyle(at).backgroundColor))
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255])
  }
  // WCAG 2.2: relative luminance, and the contrast of two colours
  const luminance = color => color.map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y)
    return (high + 0.05) / (low + 0.05)
  }
  const opacity = node =>
    [...line(node)].reduce((so_far, at) => so_far * getComputedStyle(at).opacity, 1)
  // AA: 4.5 for what is read, 3 for what is looked at, such as a dot
  const wanted = text => /[\p{L}\p{N}]/u.test(text) ? 4.5 : 3

  const off = node => node.disabled || [...line(node)].some(at => at.matches("[disabled]"))
  const written = node => {
    if (["STYLE", "SCRIPT", "OPTION", "TITLE"].includes(node.tagName) || off(node)) return ""
    if (node.matches("select")) return node.selectedOptions[0]?.textContent ?? ""
    if (node.matches("textarea, input:not([type=range], [type=checkbox], [type=file])"))
      return node.value
    return [...node.childNodes].filter(at => at.nodeType === 3).map(at => at.data).join("").trim()
  }

  /** Texts on the page: [words, size in px, contrast]. */
  const texts = () => [...every()].filter(node => seen(node) && written(node)).map(node => {
    const style = getComputedStyle(node), below = ground(node), ink = read(style.color)
    ink[3] *= opacity(node)
    return [written(node), parseFloat(style.fontSize), contrast(over(ink, below), below), node]
  })

  /** Texts in the figures, which Bokeh draws: the same. */
  const drawn = () => {
    const found = []
    const pixels = (size, em) => parseFloat(size) * ({pt: 4 / 3, em}[size.slice(-2)] ?? 1)
    let em = 0
    const note = (model, kind, words, below) => {
      if (!words) return
      const size = pixels(model[`${kind}text_font_size`], em)
      const ink = read(model[`${kind}text_color`] ?? "transparent")
      found.push([words, size, contrast(over(ink, below), below)])
    }
    for (const figure of Bokeh.documents.flatMap(doc => [...doc._all_models.values()])) {
      if (figure.type !== "Figure" || !figure.visible) continue
      const view = Bokeh.index.find_one(figure)
      if (!view || !seen(view.el)) continue
      em = parseFloat(getComputedStyle(view.el).fontSize)
      const card = ground(view.el)
      const border = over(read(figure.border_fill_color ?? "transparent"), card)
      if (figure.title) note(figure.title, "", figure.title.text, border)
      for (const part of ["left", "right", "above", "below", "center"].flatMap(at => figure[at])) {
        if (!part.visible) continue
        if (part.type.endsWith("Axis")) {
          note(part, "axis_label_", part.axis_label, border)
          note(part, "major_label_", `ticks of ${part.axis_label}`, border)
        } else if (part.type === "ColorBar") {
          const below = over(read(part.background_fill_color ?? "transparent"), border)
          note(part, "title_", part.title, below)
          note(part, "major_label_", `ticks of ${part.title}`, below)
        }
      }
    }
    return found
  }

  return {
    /** What cannot be read: too small, too pale, or beyond the edge of the window. */
    faults(smallest) {
      const wide = document.documentElement.clientWidth
      const beyond = node => {
        const box = node.getBoundingClientRect()
        const scrolls = [...line(node)].some(at =>
          at.matches(".bk-data-table") || /auto|scroll/.test(getComputedStyle(at).overflowX))
        return !scrolls && (box.left < -1 || box.right > wide + 1)
      }
      const read = [...texts(), ...drawn()]
      return {
        small: read.filter(([, size]) => size < smallest).map(([said, size]) => `${said}: ${size}`),
        pale: read.filter(([said, , found]) => found < wanted(said))
          .map(([said, , found]) => `${said}: ${found.toFixed(2)}`),
        beyond: [...every()].filter(node => node.matches("canvas, button, input, select, textarea")
          || written(node)).filter(node => seen(node) && beyond(node)).map(describe),
        read: read.length,
        scrolls: document.documentElement.scrollWidth - wide,
      }
    },

    /** Keep what a person can do something with. */
    gather() {
      const kinds = "button, input, select, textarea, a[href], summary, [tabindex='0']"
      this.controls = [...every()].filter(node => node.matches(kinds) && seen(node) && !off(node))
      this.reached = new Set()
      return this.controls.length
    },

    /** What has the focus: its name, and whether that is seen; null where nothing has it. */
    focused() {
      let node = document.activeElement
      while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement
      if (!node || node === document.body) return null
      const again = this.reached.has(node)
      this.reached.add(node)
      const label = [...node.labels ?? []].map(at => at.textContent).join("")
      const text = node.matches("button, a") ? node.textContent : ""
      const ringed = [...line(node)].slice(0, 4).some(at => {
        const style = getComputedStyle(at)
        return style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2
          && contrast(read(style.outlineColor).slice(0, 3), ground(above(at))) >= 3
      })
      const name = (node.ariaLabel || label || text || node.title || "").trim()
      return {name, ringed, again, what: describe(node)}
    },

    /** What the keyboard has not reached. */
    missed() {
      return this.controls.filter(node => !this.reached.has(node)).map(describe)
    },
  }
})()
