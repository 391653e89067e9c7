import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { classify, createClassifier, strategyFor } from "./classify.ts";
import { ERROR_CLASSES, ERROR_CLASS_DESCRIPTIONS, isErrorClass } from "./error-class.ts";
import { EVIDENCE_CHANNELS, type FailureEvidence } from "./evidence.ts";
import { LADDERS } from "./ladder.ts";
import { BUILT_IN_RULES } from "./rules/rules.ts";

const judge = (evidence: Partial<FailureEvidence>) =>
  classify({ channel: "execution", message: "", ...evidence });

describe("structure before words", () => {
  it("calls a stall a timeout, whatever the message says", () => {
    expect(judge({ channel: "stall", message: "CUDA out of memory" })).toMatchObject({
      class: "timeout",
      subclass: "stall",
      decidedBy: { kind: "structure", rule: "channel" },
    });
  });

  it("believes the type of an exception over a bare message", () => {
    expect(judge({ exceptionType: "torch.OutOfMemoryError", message: "\n" }).class).toBe(
      "cuda_out_of_memory",
    );
    expect(judge({ exceptionType: "graph.DependencyCycleError" }).class).toBe("workflow_error");
    expect(
      judge({ exceptionType: "comfy.model_management.InterruptProcessingException" }).class,
    ).toBe("interrupted");
  });

  it("reads a type off the head of the message when none is given", () => {
    expect(judge({ message: "my_pack.DependencyCycleError: 12" })).toMatchObject({
      class: "workflow_error",
      subclass: "dependency_cycle",
      decidedBy: { kind: "structure", matched: "my_pack.DependencyCycleError" },
    });
  });

  it.each([
    [{ code: 137 }, "host_out_of_memory"],
    [{ signal: "SIGKILL" }, "host_out_of_memory"],
    [{ code: 139 }, "instance_crash"],
    [{ code: -11 }, "instance_crash"],
    [{ code: 3_221_225_477 }, "instance_crash"],
    [{ code: -1_073_741_819 }, "instance_crash"],
    [{ code: 3_221_225_781 }, "dependency_error"],
    [{ code: 3_221_225_495 }, "host_out_of_memory"],
    [{ code: 143 }, "interrupted"],
    [{ signal: "SIGTERM" }, "interrupted"],
    [{ code: 127 }, "dependency_error"],
    [{ code: 1 }, "instance_crash"],
    [{ code: null, signal: null }, "instance_crash"],
  ] as const)("reads the exit record %o as %s", (exit, expected) => {
    expect(judge({ channel: "process_exit", exit }).class).toBe(expected);
  });

  it("lets the last words of a process explain a plain exit code", () => {
    expect(
      judge({
        channel: "process_exit",
        exit: { code: 1 },
        message: "OSError: [Errno 28] No space left on device",
      }).class,
    ).toBe("disk_full");
  });

  it.each([
    [401, "auth_error"],
    [403, "auth_error"],
    [413, "workflow_error"],
    [429, "network_error"],
    [500, "network_error"],
    [502, "network_error"],
    [504, "timeout"],
    [404, "network_error"],
  ] as const)("reads HTTP %i without a body as %s", (httpStatus, expected) => {
    expect(judge({ channel: "connection", httpStatus }).class).toBe(expected);
  });

  it.each([
    ["collection", "output_unreadable"],
    ["store", "store_unreachable"],
    ["connection", null],
  ] as const)("falls back on network trouble for the %s channel", (channel, subclass) => {
    expect(judge({ channel })).toMatchObject({ class: "network_error", subclass });
  });

  it("says unknown with no confidence when nothing fits", () => {
    expect(judge({ message: "frobnicated the gizmo" })).toEqual({
      class: "unknown",
      subclass: null,
      confidence: 0,
      decidedBy: { kind: "none", rule: "nothing_fits" },
      strategy: "RETRY",
    });
  });

  it("survives a channel of a newer agent", () => {
    expect(judge({ channel: "telepathy" as "log" }).class).toBe("unknown");
  });

  it("tells a missing model from a missing input by the loader", () => {
    const missing = { exceptionType: "FileNotFoundError", message: "gone" };
    expect(judge({ ...missing, nodeType: "UNETLoader" }).class).toBe("model_missing");
    expect(judge({ ...missing, nodeType: "LoadImage" })).toMatchObject({
      class: "workflow_error",
      subclass: "missing_input",
    });
    expect(judge(missing).class).toBe("workflow_error");
  });
});

function nodeErrors(...errors: readonly unknown[]): FailureEvidence["nodeErrors"] {
  return { "4": { class_type: "X", dependent_outputs: ["9"], errors } };
}
const listError = (input: string, value: unknown, valid: readonly string[] | null) => ({
  type: "value_not_in_list",
  message: "Value not in list",
  details: "",
  extra_info: {
    input_name: input,
    input_config: valid === null ? null : [valid, {}],
    received_value: value,
  },
});
const judgeNodes = (...errors: readonly unknown[]) =>
  judge({
    channel: "validation",
    validationType: "prompt_outputs_failed_validation",
    message: "Prompt outputs failed validation",
    nodeErrors: nodeErrors(...errors),
  });

describe("validation answers", () => {
  it("tells a missing model from a wrong choice", () => {
    expect(judgeNodes(listError("ckpt_name", "x.safetensors", ["y.safetensors"]))).toMatchObject({
      class: "model_missing",
      subclass: "not_in_list",
    });
    expect(judgeNodes(listError("sampler_name", "eulr", null)).class).toBe("workflow_error");
    expect(judgeNodes(listError("lora_name", "None", ["a.safetensors"])).class).toBe(
      "workflow_error",
    );
    expect(judgeNodes(listError("weight_dtype", "fp4", null)).class).toBe("workflow_error");
  });

  it("says when the list is empty or the name is spelt for another system", () => {
    expect(judgeNodes(listError("unet_name", "x.gguf", [])).subclass).toBe("list_empty");
    expect(
      judgeNodes(listError("lora_name", "a/b.safetensors", ["a\\b.safetensors"])),
    ).toMatchObject({ class: "model_missing", subclass: "path_separator" });
  });

  it("reads the input's name from the details when extra_info is gone", () => {
    const error = {
      type: "value_not_in_list",
      message: "Value not in list",
      details: "vae_name: 'ae.safetensors' not in []",
    };
    expect(judgeNodes(error)).toMatchObject({ class: "model_missing", subclass: "list_empty" });
  });

  it("lets what is wrong everywhere outweigh a missing model", () => {
    const missing = listError("ckpt_name", "x.safetensors", []);
    expect(judgeNodes(missing, { type: "required_input_missing" }).class).toBe("workflow_error");
  });

  it("knows an input file that the instance lacks", () => {
    expect(
      judgeNodes({
        type: "custom_validation_failed",
        message: "Custom validation failed for node",
        details: "image - Invalid image file: a.png",
      }),
    ).toMatchObject({ class: "workflow_error", subclass: "missing_input" });
  });

  it("reads a cycle out of an answer without node errors", () => {
    expect(judgeNodes()).toMatchObject({ class: "workflow_error", confidence: 0.9 });
  });

  it.each([
    ["invalid_prompt", "Cannot execute because node Foo Bar does not exist.", "node_missing", null],
    [
      "invalid_prompt",
      "Cannot execute because node Reroute does not exist.",
      "node_missing",
      "front_end_only",
    ],
    [
      "missing_node_type",
      "Node 'x' not found. The custom node may not be installed.",
      "node_missing",
      null,
    ],
    [
      "missing_node_type",
      "Node '12' has no class_type. The workflow may be corrupted.",
      "workflow_error",
      "no_class_type",
    ],
    ["invalid_prompt", "odd", "workflow_error", "invalid_prompt"],
    ["prompt_no_outputs", "Prompt has no outputs", "workflow_error", "prompt_no_outputs"],
    ["value_not_in_list", "ckpt_name: 'a.ckpt' not in []", "model_missing", "list_empty"],
    ["", "who knows", "workflow_error", null],
  ])("reads %s, %s as %s", (validationType, message, expected, subclass) => {
    expect(judge({ channel: "validation", validationType, message })).toMatchObject({
      class: expected,
      subclass,
    });
  });

  it("is not misled by the shape of node_errors", () => {
    for (const odd of [
      null,
      5,
      "x",
      [],
      { a: null },
      { a: { errors: 3 } },
      { a: { errors: [1, {}] } },
    ]) {
      expect(judge({ channel: "validation", message: "", nodeErrors: odd }).class).toBe(
        "workflow_error",
      );
    }
  });
});

const GIB = 1024 ** 3;
const oom = (message: string, more: Partial<FailureEvidence> = {}) =>
  judge({ exceptionType: "torch.OutOfMemoryError", message, ...more });

describe("why a GPU ran out of memory", () => {
  it("suspects a card that was taken away", () => {
    const early = { timing: { elapsedMs: 1_200 }, vramFreeBytes: 20 * GIB };
    expect(oom("Allocation on device", early)).toMatchObject({
      class: "gpu_fault",
      subclass: "revoked_card",
    });
    expect(oom("Tried to allocate 30.00 GiB.", early).class).toBe("cuda_out_of_memory");
    const late = { ...early, timing: { elapsedMs: 60_000 } };
    expect(oom("Allocation on device", late).subclass).toBeNull();
  });

  it.each([
    ["Tried to allocate 40.00 GiB. GPU 0 has a total capacity of 24.00 GiB", "above_card"],
    [
      "Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 24.00 GiB of which 9 MiB is free. Process 77 has 22.10 GiB memory in use. Of the allocated memory 0 bytes is allocated by PyTorch",
      "foreign_vram",
    ],
    [
      "GPU 0 has a total capacity of 24.00 GiB. Process 5 has 20.00 GiB memory in use. Of the allocated memory 1.00 GiB is allocated by PyTorch",
      "foreign_vram",
    ],
    [
      "Tried to allocate 1.25 GiB. Of the allocated memory 2.09 GiB is allocated by PyTorch, and 2.91 GiB is reserved by PyTorch but unallocated",
      "fragmentation",
    ],
    ["Tried to allocate 20 MiB", null],
  ])("reads %s as %s", (message, subclass) => {
    expect(oom(message)).toMatchObject({ class: "cuda_out_of_memory", subclass });
  });
});

const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const arbitraryEvidence = fc.record(
  {
    channel: fc.constantFrom(...EVIDENCE_CHANNELS),
    message: fc.string({ unit: "binary", maxLength: 400 }),
    exceptionType: fc.option(fc.string()),
    validationType: fc.option(fc.string()),
    nodeType: fc.option(fc.string()),
    httpStatus: fc.option(fc.integer()),
    exit: fc.record({ code: fc.option(fc.integer()), signal: fc.option(fc.string()) }),
    nodeErrors: fc.anything(),
    vramFreeBytes: fc.double(),
    extra: fc.dictionary(fc.string(), fc.string()),
  },
  { requiredKeys: ["channel", "message"] },
);

describe("any evidence", () => {
  it("gets one known class, always the same, and never an exception", () => {
    fc.assert(
      fc.property(arbitraryEvidence, (evidence) => {
        const once = classify(evidence);
        expect(isErrorClass(once.class)).toBe(true);
        expect(once.confidence).toBeGreaterThanOrEqual(0);
        expect(once.confidence).toBeLessThanOrEqual(1);
        expect(once.strategy).toBe(strategyFor(once.class));
        expect(classify(evidence)).toEqual(once);
      }),
      { numRuns: 300 },
    );
  });

  it("is not judged by anything outside the fields that rules may read", () => {
    const words = "CUDA out of memory, No space left on device, 401 Unauthorized";
    fc.assert(
      fc.property(arbitraryEvidence, optional(fc.string()), (evidence, word = "") => {
        const spiced = { ...evidence, extra: { prompt: `${words} ${word}` }, traceback: [words] };
        expect(
          classify({ ...spiced, current_inputs: { text: [words] } } as FailureEvidence),
        ).toEqual(classify(evidence));
      }),
    );
  });

  it("is read to the end of a long message, and only near its words", () => {
    const filler = "loading shard model.bin ok\n".repeat(2_300);
    expect(judge({ channel: "log", message: `${filler}No space left on device` }).class).toBe(
      "disk_full",
    );
  });
});

describe("tables", () => {
  it("describe every class and give it a ladder", () => {
    for (const errorClass of ERROR_CLASSES) {
      expect(ERROR_CLASS_DESCRIPTIONS[errorClass].title).not.toBe("");
      expect(LADDERS[errorClass].length > 0 || errorClass === "not_an_error").toBe(true);
    }
    expect(isErrorClass("constructor")).toBe(false);
  });

  it("let another table of rules be compiled", () => {
    const own = createClassifier([
      {
        name: "own.gizmo",
        class: "disk_full",
        subclass: "gizmo",
        confidence: 0.9,
        from: "test",
        needles: ["gizmo"],
        pattern: /full gizmo/i,
        unless: /not a full/i,
        channels: ["log"],
        notChannels: ["execution"],
      },
    ]);
    const ask = (channel: "log" | "execution", message: string) => own({ channel, message });
    expect(ask("log", "a Full Gizmo here")).toMatchObject({
      class: "disk_full",
      subclass: "gizmo",
    });
    expect(ask("log", "not a full gizmo").class).toBe("unknown");
    expect(ask("log", "an empty gizmo").class).toBe("unknown");
    expect(ask("execution", "a full gizmo").class).toBe("unknown");
  });
});

describe("finer causes that change the action", () => {
  it.each([
    ["execution", "CUDA error: an illegal memory access was encountered", "poisoned_context"],
    ["execution", "CUDA error: unspecified launch failure", "poisoned_context"],
    ["log", "HIP error: illegal address", "poisoned_context"],
    ["execution", "CUDA error: device-side assert triggered", "device_assert"],
    ["log", "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.", "hardware"],
    ["execution", "CUDA error: no kernel image is available for execution", "unsupported_card"],
    ["log", "Failed to initialize NVML: Driver/library version mismatch", "driver"],
    ["execution", "[Errno 122] Disk quota exceeded: '/out/a.png'", "quota"],
    ["execution", "You are trying to access a gated repo.", "gated"],
    ["log", "Access to model x/y is restricted. You must have access to it", "gated"],
    ["execution", "Payment Required: Please add credits to your account", "billing"],
    ["execution", "[Errno 30] Read-only file system: '/out/a.png'", "read_only"],
    ["execution", "[WinError 32] The process cannot access the file", "file_in_use"],
    ["validation", "Value not in list: lora_name: 'a.safetensors' not in []", "list_empty"],
    ["execution", "[WinError 1455] The paging file is too small", "commit_limit"],
    ["process_exit", "Memory cgroup out of memory: Killed process 12 (python3)", "killed"],
    ["connection", "HTTP 429 Too Many Requests", "rate_limit"],
    ["connection", "getaddrinfo ENOTFOUND gpu-3", "dns"],
  ] as const)("%s, %s: %s", (channel, message, subclass) => {
    const validationType = channel === "validation" ? "value_not_in_list" : null;
    expect(judge({ channel, message, validationType }).subclass).toBe(subclass);
  });
});

describe("custom patterns", () => {
  const own = createClassifier(BUILT_IN_RULES, [
    {
      name: "vendor_busy",
      errorType: "vendor_busy",
      patterns: ["vendor \\w+ busy"],
      strategy: "RETRY",
      parameterAdjustments: {},
      maxRetries: 7,
    },
    {
      name: "our_memory",
      errorType: "cuda_out_of_memory",
      patterns: ["allocation on device|arena full"],
      strategy: "ABORT",
      parameterAdjustments: { tiles: { operation: "increase", factor: 2 } },
      maxRetries: null,
    },
  ]);
  const ask = (evidence: Partial<FailureEvidence>) =>
    own({ channel: "execution", message: "", ...evidence });

  it("come before the built-in rules, and bring their strategy, tries and adjustments", () => {
    expect(ask({ message: "CUDA out of memory: vendor X busy\n" })).toEqual({
      class: "network_error",
      subclass: "vendor_busy",
      confidence: 0.97,
      decidedBy: { kind: "pattern", rule: "custom.vendor_busy", matched: "vendor X busy" },
      strategy: "RETRY",
      custom: {
        pattern: "vendor_busy",
        errorType: "vendor_busy",
        maxRetries: 7,
        adjustments: {},
      },
    });
  });

  it("may name a built-in class, and keep the finer cause that the message tells", () => {
    expect(ask({ message: "arena full. Of it 0 bytes allocated by PyTorch" })).toMatchObject({
      class: "cuda_out_of_memory",
      subclass: "foreign_vram",
      strategy: "ABORT",
      custom: { pattern: "our_memory" },
    });
  });

  it("leave a class that a field of the evidence is certain of, but not what is done", () => {
    expect(
      ask({ exceptionType: "torch.OutOfMemoryError", message: "vendor X busy" }),
    ).toMatchObject({
      class: "cuda_out_of_memory",
      decidedBy: { rule: "exception_type" },
      strategy: "RETRY",
      custom: { errorType: "vendor_busy", maxRetries: 7 },
    });
    // A type that may mean many things does not outweigh an operator's words.
    expect(ask({ exceptionType: "ValueError", message: "vendor X busy" }).class).toBe(
      "network_error",
    );
  });

  it("do not speak of stalls and interrupts, nor of fields other than the message", () => {
    const message = "vendor X busy";
    expect(ask({ channel: "stall", message })).toMatchObject({ class: "timeout" });
    expect(ask({ channel: "stall", message }).custom).toBeUndefined();
    const interrupted = "comfy.model_management.InterruptProcessingException";
    expect(ask({ exceptionType: interrupted, message }).custom).toBeUndefined();
    expect(ask({ message: "", traceback: [message], extra: { message } }).custom).toBeUndefined();
  });

  it("change nothing for messages that none of them fits", () => {
    fc.assert(
      fc.property(arbitraryEvidence, (evidence) => {
        expect(own(evidence)).toEqual(classify(evidence));
      }),
    );
  });
});

it("in a container the process that torch does not know for its own is not somebody else's", () => {
  const own =
    "CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 23.68 GiB of which 512.00 MiB is free. Process 2393412 has 22.55 GiB memory in use. Of the allocated memory 21.80 GiB is allocated by PyTorch, and 310.00 MiB is reserved by PyTorch but unallocated.";
  const foreign = own
    .replace("Process", "Process 77 has 12.00 GiB memory in use. Process")
    .replace(/22\.55|21\.80/g, (size) => (size === "22.55" ? "10.90" : "10.20"));
  const judged = (message: string) =>
    classify({ channel: "execution", exceptionType: "torch.OutOfMemoryError", message });
  expect(judged(own)).toMatchObject({ class: "cuda_out_of_memory", subclass: null });
  expect(judged(foreign)).toMatchObject({ subclass: "foreign_vram" });
});

it("an uncorrectable error of a file is none of a card", () => {
  const of = (message: string) => classify({ channel: "execution", message });
  expect(of("Video file has an uncorrectable error").subclass).not.toBe("hardware");
  expect(of("CUDA error: uncorrectable ECC error encountered").subclass).toBe("hardware");
});
