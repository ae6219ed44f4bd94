// Shows the diagram of the frames as it grows. The server sends it whole, as
// the tap has drawn it: markup in which nothing that a client sent is markup.

const picture = document.querySelector("#picture");
const status = document.querySelector("[role=status]");
const socket = new WebSocket("/.frames");
let left = 0; // where we last scrolled to, from left to right

socket.onmessage = ({ data }) => {
  const { scrollTop, clientHeight, scrollHeight } = picture;
  const atEnd = scrollTop + clientHeight > scrollHeight - 8;
  status.textContent = "";
  picture.innerHTML = data;
  picture.firstElementChild.removeAttribute("tabindex"); // all of it scrolls
  if (atEnd) picture.scrollTop = picture.scrollHeight;
  showTheNewest();
};

// New clients are at the right. Who has scrolled there is left in peace.
function showTheNewest() {
  if (picture.scrollLeft !== left) return;
  const wide = picture.scrollWidth > 2 * picture.clientWidth;
  picture.scrollLeft = wide ? picture.scrollWidth : 0;
  left = picture.scrollLeft;
}

socket.onclose = () => {
  status.textContent = "The app has stopped: no more frames.";
};
