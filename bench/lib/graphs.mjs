/** Graphs that need no model, each another one: nothing of them is in a cache. */
let color = Math.floor(Math.random() * 0x1000000);

function nextColor() {
  color = (color + 1) % 0x1000000;
  return color;
}

/** One picture of 64×64. `sleepMs` makes it take so long (the simulator alone has that node). */
export function smallGraph(sleepMs = 0) {
  const image = {
    class_type: "EmptyImage",
    inputs: { width: 64, height: 64, batch_size: 1, color: nextColor() },
  };
  const sleep = {
    class_type: "HoldfastSleep",
    inputs: { image: ["1", 0], seconds: sleepMs / 1000, poll: true },
  };
  const save = {
    class_type: "SaveImage",
    inputs: {
      // A folder each: ComfyUI counts the files of the folder at every save, and whoever keeps them all in
      // one is slower with each round. Holdfast's jobs have a folder each anyway.
      filename_prefix: `bench/${image.inputs.color.toString(16)}/picture`,
      images: [sleepMs > 0 ? "2" : "1", 0],
    },
  };
  return sleepMs > 0 ? { 1: image, 2: sleep, 3: save } : { 1: image, 3: save };
}
