import type { ParameterAdjustments } from "./custom/custom-pattern.ts";
import type { ErrorStrategy } from "./strategy.ts";

/**
 * Every class a failure can have: the six of the error recovery API and the finer ones the design
 * adds. Closed: a message that fits nothing is `unknown`, and its evidence is kept.
 */
export const ERROR_CLASSES = [
  "cuda_out_of_memory",
  "timeout",
  "model_missing",
  "network_error",
  "disk_full",
  "workflow_error",
  "host_out_of_memory",
  "node_missing",
  "corrupt_model",
  "gpu_fault",
  "instance_crash",
  "dependency_error",
  "auth_error",
  "permission_error",
  "interrupted",
  "not_an_error",
  "unknown",
] as const;

/** One of {@link ERROR_CLASSES}. */
export type ErrorClass = (typeof ERROR_CLASSES)[number];

/** Which part of the evidence settled the class. */
export interface ClassificationBasis {
  /** `structure`: a field of the evidence; `pattern`: words of the message; `none`: nothing fitted. */
  readonly kind: "structure" | "pattern" | "none";
  /** The stable name of the rule, for logs and for the person who asks why. */
  readonly rule: string;
  /** The words (or the field's value) that the rule saw, shortened. */
  readonly matched?: string;
}

/** A failure with its class, and what decided it. Plain JSON: stored beside the evidence. */
export interface ClassifiedError {
  readonly class: ErrorClass;
  /** A finer cause inside the class where it changes the action (`foreign_vram`, `quota`), or null. */
  readonly subclass: string | null;
  /** How sure the classifier is, 0 to 1. Below 0.5 the class is a guess. */
  readonly confidence: number;
  readonly decidedBy: ClassificationBasis;
  /** That of the custom pattern where one matched, else that of the class. */
  readonly strategy: ErrorStrategy;
  /** What the operator's own pattern says; absent where none matched. */
  readonly custom?: CustomVerdict;
}

/** What a custom pattern that matched asks for (C1). */
export interface CustomVerdict {
  /** The pattern's name. */
  readonly pattern: string;
  /** A built-in class, or the operator's own name for the error: statistics count it by this. */
  readonly errorType: string;
  /** Tries that this error may cost a job; null leaves it to the job's and the general limit. */
  readonly maxRetries: number | null;
  readonly adjustments: ParameterAdjustments;
}

/** What a class is called and means, in words for a person. */
export interface ErrorClassDescription {
  readonly title: string;
  readonly meaning: string;
}

/** Title and meaning of every class, for screens, reports and the command line. */
export const ERROR_CLASS_DESCRIPTIONS: Readonly<Record<ErrorClass, ErrorClassDescription>> = {
  cuda_out_of_memory: {
    title: "Out of GPU memory",
    meaning: "The GPU had too little free memory for a step of the graph.",
  },
  timeout: {
    title: "Took too long",
    meaning: "Nothing moved, or no answer came, within the time allowed.",
  },
  model_missing: {
    title: "Model not found",
    meaning: "A model file that the graph names is not on the machine that tried it.",
  },
  network_error: {
    title: "Connection trouble",
    meaning: "A connection was refused, was cut, or never came about.",
  },
  disk_full: {
    title: "Disk full",
    meaning: "There is no room left to write, or a quota is used up.",
  },
  workflow_error: {
    title: "Fault in the graph",
    meaning: "The graph or its inputs are wrong; the same graph fails the same way everywhere.",
  },
  host_out_of_memory: {
    title: "Out of system memory",
    meaning: "The machine's own memory (RAM, page file or container limit) ran out.",
  },
  node_missing: {
    title: "Node not installed",
    meaning: "The graph uses a node class that the instance does not know.",
  },
  corrupt_model: {
    title: "Model unreadable",
    meaning: "A model file is damaged, incomplete, or is not what its loader expects.",
  },
  gpu_fault: {
    title: "GPU fault",
    meaning: "The GPU, its driver, or the build for it failed in a way other than lack of memory.",
  },
  instance_crash: {
    title: "ComfyUI crashed",
    meaning: "The ComfyUI process (or a tool it ran) died without saying why.",
  },
  dependency_error: {
    title: "Broken installation",
    meaning: "A library is missing, has the wrong version, or does not fit another one.",
  },
  auth_error: {
    title: "Not authorised",
    meaning: "A credential, licence or payment was refused.",
  },
  permission_error: {
    title: "File access refused",
    meaning: "The machine may not read or write a file or folder that it needs.",
  },
  interrupted: {
    title: "Interrupted",
    meaning: "Somebody stopped the run; nothing failed by itself.",
  },
  not_an_error: {
    title: "Not an error",
    meaning: "A warning or a note that looks like a failure; the work went on.",
  },
  unknown: {
    title: "Unknown failure",
    meaning: "Nothing known fits; the evidence is kept for a person to read.",
  },
};

const KNOWN_CLASSES: ReadonlySet<string> = new Set(ERROR_CLASSES);

/** Whether a text is the name of a built-in class. */
export function isErrorClass(text: string): text is ErrorClass {
  return KNOWN_CLASSES.has(text);
}
