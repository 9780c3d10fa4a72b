// What Bokeh leaves out for the keyboard and for screen readers: every control has a name, whatever
// has the focus is ringed, and no table keeps the Tab key. Seen to before the focus moves, as what
// is on a page comes and goes.
(() => {
  if (window.twinlabKeyboard) return
  window.twinlabKeyboard = true

  const ring = new CSSStyleSheet()
  ring.replaceSync(`
    :focus-visible, .bk-data-table:has(:focus-visible) {
      outline: 2px solid #d55e00 !important; outline-offset: 1px !important;
    }
    .bk-layer:focus-visible { outline-offset: -2px !important; }  /* else its figure cuts it off */
  `)

  const said = node => (node?.firstChild?.textContent ?? "").replace(/:\s*$/, "").trim()

  /** Heading of the card it is in. */
  const heading = node => {
    for (let at = node; at; at = at.parentNode ?? at.host) {
      const found = at.querySelector?.(".heading")
      if (found) return said(found.shadowRoot.querySelector("div"))
    }
    return ""
  }

  const name = node => {
    const label = said(node.getRootNode().querySelector("label, .bk-slider-title, .bk-Checkbox span"))
    const is = kind => node.classList.contains(kind)
    if (is("noUi-handle")) {
      const among = node.getRootNode().querySelectorAll(".noUi-handle")
      return among.length < 2 ? label : `${label}, ${node === among[0] ? "lowest" : "highest"}`
    }
    if (is("bk-spin-btn")) return `${is("bk-spin-btn-up") ? "more" : "less"} ${label}`
    if (is("bk-tool-overflow")) return "more tools"
    if (node.closest(".bk-panel-models-widgets-Player") || node.localName === "button")
      return node.classList[0]  // of a player: first, previous, play ...
    return label || heading(node)
  }

  const attend = root => {
    if (!root.adoptedStyleSheets.includes(ring)) root.adoptedStyleSheets.push(ring)
    for (const node of root.querySelectorAll("*")) {
      if (node.shadowRoot) attend(node.shadowRoot)
      const text = ["button", "a"].includes(node.localName) && node.textContent.trim()
      if (node.tabIndex >= 0 && !(text || node.ariaLabel || node.title || node.labels?.length))
        node.ariaLabel = name(node)
    }
  }

  window.addEventListener("keydown", event => {
    if (event.key !== "Tab") return
    attend(document)
    if (event.composedPath().some(node => node.classList?.contains("bk-data-table")))
      event.stopPropagation()
  }, true)
})()
