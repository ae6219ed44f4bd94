// What the theme leaves to be done, most of it for those who use a keyboard.

// The theme notes in the history where on a page the reader is, and it does so
// late: who follows a link soon after scrolling would have the old page's
// section in the new page's address, and be as far down on it. So nothing is
// noted while the address is that of a page that is still to come.
let shown; // the path of the page that is there
const { replaceState } = history;
history.replaceState = (...note) => {
  if (location.pathname === shown) replaceState.apply(history, note);
};

// A part that scrolls sideways can be focused, and so scrolled with arrow keys.
const scrolling = ".output, figure.frames, .md-typeset__scrollwrap";
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});

// The theme's menu and search buttons are labels, which take no focus.
function makeButton(label, name) {
  label.tabIndex = 0;
  label.setAttribute("role", "button");
  label.setAttribute("aria-label", name);
  label.onkeydown = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    label.click();
  };
}

// A cell that runs says when it has shown something.
document.addEventListener("shown", ({ target }) => {
  sizes.observe(target);
  for (const part of target.querySelectorAll(scrolling)) sizes.observe(part);
});

// Runs on the first page and on each one that instant navigation brings.
document$.subscribe(() => {
  shown = location.pathname;
  for (const part of document.querySelectorAll(scrolling)) sizes.observe(part);
});

// A dialog needs a name.
document.querySelector(".md-search").setAttribute("aria-label", "Search");

const header = document.querySelector(".md-header");
makeButton(header.querySelector("label[for=__drawer]"), "Menu");
makeButton(header.querySelector("label.md-header__button[for=__search]"), "Search");
