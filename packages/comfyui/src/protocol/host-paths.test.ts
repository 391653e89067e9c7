import * as fc from "fast-check";
import { expect, test } from "vitest";
import { stripHostPaths, stripHostPathsIn } from "./host-paths.ts";

test.each([
  [
    '  File "/home/ann/ComfyUI/execution.py", line 496, in execute\n',
    '  File "execution.py", line 496, in execute\n',
  ],
  ['File "/srv/my ai/ComfyUI/comfy/sd.py", line 1', 'File "comfy/sd.py", line 1'],
  [
    'File "/opt/comfy-ui/base/custom_nodes/ComfyUI-Foo/models/n.py", line 2',
    'File "custom_nodes/ComfyUI-Foo/models/n.py", line 2',
  ],
  [
    'File "C:\\Users\\Bob Smith\\ComfyUI\\custom_nodes\\Pack\\n.py", line 3',
    'File "custom_nodes/Pack/n.py", line 3',
  ],
  [
    "C:\\Users\\Bob Smith\\AI Stuff\\ComfyUI\\models\\vae\\x.pt not found",
    "models/vae/x.pt not found",
  ],
  ["'D:\\\\ai\\\\ComfyUI\\\\comfy\\\\ops.py'", "'comfy/ops.py'"],
  [
    'File "/venv/lib/python3.11/site-packages/torch/nn/functional.py", line 4',
    'File "site-packages/torch/nn/functional.py", line 4',
  ],
  [
    'File "/usr/lib/python3.11/json/decoder.py", line 4',
    'File "python3.11/json/decoder.py", line 4',
  ],
  [
    "[Errno 2] No such file or directory: '/data/nas/models/checkpoints/a.safetensors'",
    "[Errno 2] No such file or directory: 'models/checkpoints/a.safetensors'",
  ],
  [
    "[Errno 28] No space left on device: '/mnt/big/x.png'",
    "[Errno 28] No space left on device: 'x.png'",
  ],
  ["cannot read /mnt/secret/host/file.bin: bad header", "cannot read file.bin: bad header"],
  ["path=/a/b/c.txt,other=(/d/e)", "path=c.txt,other=(e)"],
  ["\\\\nas\\share\\comfyui\\input\\a.png", "input/a.png"],
  ["in file:///home/ann/secret/a.png now", "in file://a.png now"],
  ["//server/share/x", "//server/share/x"],
  [
    "see https://github.com/comfyanonymous/ComfyUI/issues/1 and http://127.0.0.1:8188/view?x=/a/b",
    "see https://github.com/comfyanonymous/ComfyUI/issues/1 and http://127.0.0.1:8188/view?x=/a/b",
  ],
  ["read and/or write, 1/2, a / b, n/a", "read and/or write, 1/2, a / b, n/a"],
  ['File "execution.py", line 1', 'File "execution.py", line 1'],
  ["", ""],
])("%j becomes %j", (text, stripped) => {
  expect(stripHostPaths(text)).toBe(stripped);
});

test("no directory of the host is left, wherever the path stands", () => {
  const around = fc.constantFrom("", " ", "'", '"', "(", "[", "=", ": ", ", ", "\n");
  const folder = fc.stringMatching(/^[a-z]{3,8}zz$/);
  fc.assert(
    fc.property(
      around,
      fc.array(folder, { minLength: 1, maxLength: 6 }),
      fc.boolean(),
      (before, folders, windows) => {
        const path = windows ? `C:\\${folders.join("\\")}\\n.py` : `/${folders.join("/")}/n.py`;
        const stripped = stripHostPaths(`raised${before === "" ? " " : before}${path}`);
        for (const name of folders) expect(stripped).not.toContain(name);
        expect(stripped).toContain("n.py");
      },
    ),
  );
});

test("text never grows, whatever it holds", () => {
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom("/", "\\", "a", "b", "C", ":", " ", ".", "'", '"', "\n", "("),
      }),
      (text) => {
        const once = stripHostPaths(text);
        expect(once.length).toBeLessThanOrEqual(text.length);
      },
    ),
  );
});

test.each([["/"], ["/a"], ["\\"], ["C:\\ "], ["'/"], [" /a\\ "], ["C:\\a b\\"]])(
  "time grows with the length of %j repeated, not with its square",
  (piece) => {
    const text = piece.repeat(Math.floor(400_000 / piece.length));
    const started = performance.now();
    stripHostPaths(text);
    expect(performance.now() - started).toBeLessThan(3_000);
  },
);

test("a whole value is stripped, its shape kept, and no depth overflows the stack", () => {
  const value = { a: ["/home/ann/x.png", 5, null], b: { c: "at /srv/ComfyUI/comfy/sd.py" } };
  expect(stripHostPathsIn(value)).toEqual({ a: ["x.png", 5, null], b: { c: "at comfy/sd.py" } });
  const deep: unknown = JSON.parse(`${"[".repeat(100_000)}${"]".repeat(100_000)}`);
  expect(JSON.stringify(stripHostPathsIn(deep))).toContain("null");
});
