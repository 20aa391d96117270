// Ticks from a worker, because browsers slow a hidden page's own timers down to
// one per second, and the picture shall keep moving for the others.
onmessage = ({ data: framesPerSecond }) => {
  setInterval(() => postMessage(null), 1000 / framesPerSecond);
};
