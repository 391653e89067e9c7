import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fatalMissingModule, parseStartupLog } from "./startup-log.ts";

/** In the wording of `nodes.py` of ComfyUI 0.3.64. */
const LOG = `Traceback (most recent call last):
  File "/r/comfyui/nodes.py", line 2129, in load_custom_node
ModuleNotFoundError: No module named 'cv2'

Cannot import /r/comfyui/custom_nodes/vision pack module for custom nodes: No module named 'cv2'
Skip /r/comfyui/custom_nodes/empty module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).
Error while calling comfy_entrypoint in /r/comfyui/custom_nodes/v3: boom: twice
comfy_entrypoint in /r/comfyui/custom_nodes/v3b is not callable, skipping.

Import times for custom nodes:
   0.0 seconds: /r/comfyui/custom_nodes/websocket_image_save.py
   0.0 seconds (IMPORT FAILED): /r/comfyui/custom_nodes/single.py
   0.0 seconds (IMPORT FAILED): /r/comfyui/custom_nodes/empty
   0.1 seconds (IMPORT FAILED): /r/comfyui/custom_nodes/v3
   0.1 seconds (IMPORT FAILED): /r/comfyui/custom_nodes/v3b
  12.3 seconds (IMPORT FAILED): /r/comfyui/custom_nodes/vision pack

WARNING: some comfy_extras/ nodes did not import correctly. This may be because they are missing some dependencies.

IMPORT FAILED: nodes_audio.py
`;

describe("the lines of a start", () => {
  test("name what was not imported, with ComfyUI's reason", () => {
    const { failures, builtinFailures } = parseStartupLog(LOG);
    expect(Object.fromEntries(failures.map(({ name, reason }) => [name, reason]))).toEqual({
      "vision pack": "No module named 'cv2'",
      empty: "due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).",
      v3: "boom: twice",
      v3b: "is not callable",
      single: null,
    });
    expect(builtinFailures).toEqual(["nodes_audio.py"]);
  });

  test("of a good start name nothing, nor those of any other text", () => {
    const good = "Import times for custom nodes:\n   0.0 seconds: /r/custom_nodes/brush\n";
    expect(parseStartupLog(good)).toEqual({ failures: [], builtinFailures: [] });
    fc.assert(fc.property(fc.string(), (text) => void parseStartupLog(text)));
  });
});

describe("the module that a start died of", () => {
  test("is named by the last error of the log", () => {
    const log = `Traceback (most recent call last):
  File "/r/comfyui/app/frontend_management.py", line 16, in <module>
    import requests
ModuleNotFoundError: No module named 'requests'`;
    expect(fatalMissingModule(`${LOG}\n${log}`)).toBe("requests");
    expect(fatalMissingModule("ModuleNotFoundError: No module named 'google.protobuf'")).toBe(
      "google",
    );
  });

  test("is none when it died of something else", () => {
    const later = `${LOG}\nFileNotFoundError: [Errno 2] No such file or directory: 'temp'`;
    expect(fatalMissingModule(later)).toBeUndefined();
    expect(fatalMissingModule("")).toBeUndefined();
  });
});
