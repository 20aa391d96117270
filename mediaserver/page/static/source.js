// Where the media comes from: a drawn picture with a tone, or the camera.

const width = 640;
const height = 360;
const framesPerSecond = 15;

// openSource returns {stream, close, wake}; stream is null for "none".
export async function openSource(kind, label) {
  switch (kind) {
    case "camera": return openCamera();
    case "none": return { stream: null, close() {}, wake() {} };
    default: return openPicture(label);
  }
}

async function openCamera() {
  if (!navigator.mediaDevices) {
    throw new Error("The browser gives no camera to this address; use https or 127.0.0.1, or the drawn picture.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width, height } });
  } catch (error) {
    throw new Error(`No camera: ${error.message}. The drawn picture needs none.`);
  }
  return { stream, wake() {}, close: () => stream.getTracks().forEach((track) => track.stop()) };
}

function openPicture(label) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  draw(context, label, 0);

  const video = canvas.captureStream(framesPerSecond);
  const ticker = new Worker("ticker.js");
  let frame = 0;
  ticker.onmessage = () => draw(context, label, ++frame);
  ticker.postMessage(framesPerSecond);

  const tone = openTone(label);
  const stream = new MediaStream([...video.getTracks(), ...tone.stream.getTracks()]);
  return {
    stream,
    wake: tone.wake,
    close() {
      ticker.terminate();
      tone.close();
      stream.getTracks().forEach((track) => track.stop());
    },
  };
}

// openTone makes a soft tone whose pitch follows the label. Browsers keep it
// silent until the person has touched the page; wake tries again.
function openTone(label) {
  const audio = new AudioContext();
  const tone = new OscillatorNode(audio, { frequency: 180 + hue(label) });
  const volume = new GainNode(audio, { gain: 0.05 });
  const out = new MediaStreamAudioDestinationNode(audio);
  tone.connect(volume).connect(out);
  tone.start();
  return {
    stream: out.stream,
    wake: () => { if (audio.state === "suspended") audio.resume().catch(() => {}); },
    close: () => { audio.close().catch(() => {}); },
  };
}

function draw(context, label, frame) {
  const seconds = frame / framesPerSecond;
  context.fillStyle = `hsl(${hue(label)} 35% 22%)`;
  context.fillRect(0, 0, width, height);
  context.lineWidth = 3;
  for (let line = 0; line < 5; line++) {
    context.strokeStyle = `hsl(${hue(label)} 45% ${35 + line * 8}%)`;
    context.beginPath();
    for (let x = 0; x <= width; x += 16) {
      const y = 210 + line * 28 + Math.sin(x / 70 + seconds * (1 + line / 4) + line) * 9;
      x === 0 ? context.moveTo(x, y) : context.lineTo(x, y);
    }
    context.stroke();
  }
  context.fillStyle = "#f4efe2";
  context.beginPath();
  context.arc(width / 2 + Math.cos(seconds) * 230, 90 + Math.sin(seconds * 2) * 30, 26, 0, 2 * Math.PI);
  context.fill();
  context.font = "600 40px system-ui, sans-serif";
  context.textAlign = "center";
  context.fillText(label, width / 2, 180, width - 40);
  context.font = "18px monospace";
  context.fillText(`frame ${frame}`, width / 2, height - 16);
}

// hue gives every label a colour of its own, 0 to 359.
function hue(label) {
  let sum = 7;
  for (const letter of label) sum = (sum * 31 + letter.codePointAt(0)) % 3600;
  return sum / 10;
}
