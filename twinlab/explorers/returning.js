// A page that has lost its server is opened anew once the server answers, whatever it answers: it
// missed what went on meanwhile. (Bokeh takes the old page up again, without what it missed.)
const look = () => fetch(window.location, {method: "HEAD", cache: "no-store"}).then(
  () => window.location.reload(),
  () => setTimeout(look, 1000),
)
look()
