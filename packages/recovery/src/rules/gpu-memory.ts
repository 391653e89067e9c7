import type { MessageRule } from "./rule.ts";

/** A loader that met the lack of memory and went on by itself is a warning, not a failure. */
const RECOVERED = /retry(?:ing)? with tiled|falling back to|\bnot (?:an? )?(?:cuda |gpu )?out/i;

/** GPU memory: PyTorch's allocators (CUDA, HIP, XPU, MPS), DirectML, cuBLAS, Metal, Level Zero, Vulkan. */
export const GPU_MEMORY_RULES: readonly MessageRule[] = [
  {
    name: "gpu_memory.allocator",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.96,
    from: "e001, e014, e017; torch 2.6 cudaMallocAsync",
    needles: ["allocation on device", "exceed allowed memory"],
    unless: RECOVERED,
  },
  {
    name: "gpu_memory.named_device",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.95,
    from: "e004–e011, e021; torch 2.x",
    needles: ["out of memory", "out-of-memory", "outofmemory"],
    pattern:
      /(?:\b(?:cuda|hip|xpu|mps|gpu|rocm|metal|directml|dml|xla|npu|musa|opencl|vulkan|video|graphics|device)\b|vram|torch\.|cudnn|tensorrt|iogpu|command ?buffer|resource_exhausted)[^\n]{0,60}out[ -]?of[ -]?memory/i,
    unless: RECOVERED,
  },
  {
    name: "gpu_memory.described_device",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.94,
    from: "e009, e011; torch 2.x",
    needles: ["out of memory", "outofmemoryerror", "memory on your gpu", "allocated by pytorch"],
    pattern:
      /out of memory (?:on|in|at|for) (?:the )?(?:\w+ )?(?:gpu|hip|cuda|xpu|device)|out of memory[\s\S]{0,200}(?:\bGPU\b|total capacity|by PyTorch|VRAM)|(?<!cv::)OutOfMemoryError|on your GPU|by PyTorch/i,
    unless: RECOVERED,
  },
  {
    name: "gpu_memory.status_name",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.95,
    from: "e019, e345; CUDA 12, ROCm 6, Level Zero, Vulkan 1.3",
    needles: [
      "status_alloc_failed",
      "error_out_of_memory",
      "errormemoryallocation",
      "hiperroroutofmemory",
      "out_of_device_memory",
      "outofdevicememory",
      "mem_object_allocation_fail",
      "error_out_of_resources",
      "resource_exhausted",
    ],
    unless: /out_of_host/i,
  },
  {
    name: "gpu_memory.cuda_failure_number",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.94,
    from: "onnxruntime 1.20 CUDA provider",
    needles: ["cuda failure 2", "cuda error 2", "cudaerror(2)", "gpudevicememory"],
    pattern: /cuda (?:failure|error) 2\b|error\(2\)|gpudevicememory/i,
  },
  {
    name: "gpu_memory.execution_provider",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.94,
    from: "onnxruntime 1.16–1.20 arenas; TensorRT 10",
    needles: ["failed to allocate mem", "bfcarena", "cudamalloc", "hipmalloc", "outofmemory"],
    pattern:
      /(?:cuda|gpu|tensorrt|rocm|dml)\w*[\s\S]{0,200}failed to allocate mem|failed to allocate mem[\s\S]{0,200}(?:cuda|gpu|tensorrt|rocm|dml)|(?:cuda|hip)malloc\w* (?:failed|error)|OutOfMemory \(/i,
  },
  {
    name: "gpu_memory.directml",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.95,
    from: "e026, e027; torch-directml 0.2",
    needles: ["gpu video memory", "not enough gpu", "enough video memory", "insufficient vram"],
  },
  {
    name: "gpu_memory.not_enough",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.9,
    from: "Holdfast: usual words of custom nodes and wrappers",
    needles: ["vram", "gpu memory", "gpu ram", "device memory", "video memory", "graphics memory"],
    pattern:
      /(?:not enough|insufficient|exhaust\w*|ran out of|out of|run out of|exceed\w*|too little|lack of|requires? (?:more|at least))\s(?:\w+\s){0,3}(?:vram|(?:gpu|device|video|graphics) (?:memory|ram))|(?:vram|(?:gpu|device|video|graphics) memory)\s(?:is |was |has been )?(?:full|exhausted|exceeded|insufficient|overflow|not enough|too (?:low|small))/i,
    unless: RECOVERED,
  },
  {
    name: "gpu_memory.localised",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.93,
    from: "Holdfast: zh, ja, ko, ru, de, fr, es, pt words",
    needles: ["显存", "顯存", "显卡内存", "vram", "gpu", "видеопамят", "grafikspeicher", "vídeo"],
    pattern:
      /[显顯]存.{0,6}(?:不足|溢出|不够|耗尽|爆|已满)|爆[显顯]存|(?:vram|gpu ?(?:メモリ|메모리|内存))\s?.{0,6}(?:不足|부족|足り)|видеопамят.{0,30}(?:недостаточно|нехват)|(?:недостаточно|нехватка)\s(?:\S+\s)?видеопамят|(?:nicht gen\S+|zu wenig) (?:Grafik|GPU-?)speicher|m[ée]moire (?:vid[ée]o|GPU) insuffisante|memoria (?:de (?:v[ií]deo|GPU) )insuficiente/i,
  },
  {
    name: "gpu_memory.metal_buffer",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.9,
    from: "torch 2.x MPS; Metal",
    needles: ["invalid buffer size", "mtlbuffer", "mps allocated", "high_watermark", "iogpumetal"],
    pattern:
      /invalid buffer size: [\d.]+ ?[GT]|failed to allocate (?:\w+ )?MTLBuffer|mps allocated|max allowed|insufficient memory/i,
  },
  {
    name: "gpu_memory.symptom",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.78,
    from: "e019; cuDNN 8 and 9, torch 2.x",
    needles: ["valid cudnn algorithm", "get was unable to find an", "nvml_success == r"],
  },
  {
    name: "gpu_memory.oom_handled_log",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.85,
    from: "ComfyUI a125cd84 execution.py",
    needles: ["got an oom", "oom error", "gpu oom", "cuda oom", "vram oom"],
  },
  {
    name: "gpu_memory.bare_words",
    class: "cuda_out_of_memory",
    subclass: null,
    confidence: 0.6,
    from: "Holdfast: bare words; on an execution the GPU is the usual meaning",
    needles: ["out of memory", "ran out of memory", "oom", "not enough memory"],
    pattern: /(?:ran|run|runs|running|is)?\s?out of memory|\bOOM\b|not enough memory/i,
    unless: RECOVERED,
    notChannels: ["process_exit", "connection", "validation"],
  },
];
