import { isNodeValue, type NodeValue } from "../nodes/values.ts";
import { pythonRepr } from "./python-text.ts";

/** ComfyUI's own frames above a failing node, as a real 0.3.64 prints them. */
const ENGINE_FRAMES: readonly string[] = [
  '  File "execution.py", line 496, in execute\n    output_data, output_ui, has_subgraph, has_pending_tasks = await get_output_data(prompt_id, unique_id, obj, input_data_all, execution_block_cb=execution_block_cb, pre_execute_cb=pre_execute_cb, hidden_inputs=hidden_inputs)\n',
  '  File "execution.py", line 315, in get_output_data\n    return_values = await _async_map_node_over_list(prompt_id, unique_id, obj, input_data_all, obj.FUNCTION, allow_interrupt=True, execution_block_cb=execution_block_cb, pre_execute_cb=pre_execute_cb, hidden_inputs=hidden_inputs)\n',
  '  File "execution.py", line 289, in _async_map_node_over_list\n    await process_inputs(input_dict, i)\n',
  '  File "execution.py", line 277, in process_inputs\n    result = f(**inputs)\n',
];

/** What ComfyUI adds to the message of a recognised out-of-memory error. */
const OUT_OF_MEMORY_TIPS =
  "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might have accidentally set the batch_size to a large number.";

/** True for the exception type that ComfyUI takes for an out-of-memory error. */
export function isOutOfMemory(exceptionType: string): boolean {
  return exceptionType === "torch.OutOfMemoryError";
}

/** The message of `execution_error`: always with a line break, then the tips if there are any. */
export function failureMessage(exceptionType: string, message: string): string {
  return `${message}\n${isOutOfMemory(exceptionType) ? OUT_OF_MEMORY_TIPS : ""}`;
}

/** The traceback of `execution_error`: frames only, outermost first. */
export function failureTraceback(frames: readonly string[]): readonly string[] {
  return [...ENGINE_FRAMES, ...frames];
}

/** A resolved input as `current_inputs` prints it. */
export function printInput(value: unknown): unknown {
  if (isNodeValue(value)) return printValue(value);
  if (value === null || typeof value !== "object") return value ?? null;
  return pythonRepr(value);
}

function printValue(value: NodeValue): unknown {
  switch (value.kind) {
    case "primitive":
      return value.value;
    case "images": {
      const picture = value.pictures[0];
      if (picture === undefined) return "tensor([])";
      const pixels = picture.paint();
      const rgb = [0, 1, 2].map((i) => ((pixels[i] ?? 0) / 255).toFixed(4)).join(", ");
      return `tensor([[[[${rgb}],\n          [${rgb}],\n          ...,\n          [${rgb}]]]])`;
    }
    case "latent":
      return "{'samples': tensor([[[[0., 0., 0.,  ..., 0., 0., 0.]]]])}";
    case "mask":
      return "tensor([[[0., 0., 0.,  ..., 0., 0., 0.]]])";
    case "conditioning":
      return "[[tensor([[[-0.3884,  0.0229, -0.0522,  ..., -0.4899, -0.3066,  0.0675]]]), {}]]";
    default:
      return `<simulated ${value.kind} object at 0x7f0000000000>`;
  }
}
