/**
 * Graphics cards that `ftl plan` can plan for though they are not here: their memory, and what training would do on
 * them, extrapolated from the one kind that was measured by what their makers say of both.
 */
import type { Speed } from "../model/step_time.ts";
import type { ChosenEngine } from "./engine.ts";

interface Card {
  name: string;
  /** GiB. */
  memory: number;
  /** Dense products of f16 with sums in f32, TFLOP/s, and memory, GB/s, as the maker says. */
  tflops: number;
  gbs: number;
}

const cards = {
  "rtx-3060": { name: "RTX 3060", memory: 12, tflops: 25.5, gbs: 360 },
  "rtx-3090": { name: "RTX 3090", memory: 24, tflops: 71, gbs: 936 },
  "rtx-4070": { name: "RTX 4070", memory: 12, tflops: 58, gbs: 504 },
  "rtx-4080": { name: "RTX 4080", memory: 16, tflops: 97.5, gbs: 717 },
  "rtx-4090": { name: "RTX 4090", memory: 24, tflops: 165, gbs: 1008 },
  "rtx-5090": { name: "RTX 5090", memory: 32, tflops: 209.5, gbs: 1792 },
  "t4": { name: "T4", memory: 16, tflops: 65, gbs: 320 },
  "l4": { name: "L4", memory: 24, tflops: 121, gbs: 300 },
  "a100": { name: "A100 80GB", memory: 80, tflops: 312, gbs: 2039 },
  "h100": { name: "H100 80GB", memory: 80, tflops: 989, gbs: 3350 },
  "h200": { name: "H200", memory: 141, tflops: 989, gbs: 4800 },
} satisfies Record<string, Card>;

export type CardName = keyof typeof cards;

export const cardNames = ["none", ...Object.keys(cards)] as ["none", ...CardName[]];

/**
 * Measured on an H100 through Dawn, the shape of Llama 3.1 8B (tests/bench/LOG.md): 95 ms for 2 x 256 tokens, 286 for
 * 8 x 256, 611 for 2 x 2048 with every layer kept, 797 with none. `pass`: some 1.1 ms a layer of dispatches.
 */
const h100: Omit<Speed, "pass"> = {
  products: 250e12,
  attention: 216e12,
  decode: 1e-12,
  other: 3e-13,
  optimizer: 2e-11,
};
const layerDispatches = 8e-4;

/** What the ceilings of `ftl train --profile` (lib/webgpu/ceilings.ts) are on that H100. */
const h100Ceilings = { tflops: 260, gbs: 2500 };

/** The speed of a card of the table, and of one whose ceilings were measured. */
export function speedOfCard({ tflops, gbs }: Card, layers: number): Speed {
  return inProportion({ compute: tflops / cards.h100.tflops, memory: gbs / cards.h100.gbs, layers });
}

export function speedOfCeilings({ tflops, gbs }: { tflops: number; gbs: number }, layers: number): Speed {
  return inProportion({ compute: tflops / h100Ceilings.tflops, memory: gbs / h100Ceilings.gbs, layers });
}

function inProportion({ compute, memory, layers }: { compute: number; memory: number; layers: number }): Speed {
  return {
    products: h100.products * compute,
    attention: h100.attention * compute,
    decode: h100.decode / memory,
    other: h100.other / memory,
    optimizer: h100.optimizer / memory,
    pass: layers * layerDispatches,
  };
}

/** The card of a device by what its driver calls it: "NVIDIA GeForce RTX 4090". The longest name that fits counts. */
export function cardOf(device: string): Card | undefined {
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  return Object.values(cards).filter(({ name }) => plain(device).includes(plain(name.split(" 80GB")[0])))
    .toSorted((a, b) => b.name.length - a.name.length)[0];
}

export const cardNamed = (name: CardName): Card => cards[name];

/** An engine as it would be with a card that is not here: what Dawn and Deno's WebGPU find with NVIDIA's drivers. */
export function absentEngine(kind: "dawn" | "webgpu", name: string): ChosenEngine {
  const about = {
    ...{ engine: kind, name, vendor: "", driver: "", software: false, f16: true, subgroups: true, timestamps: true },
    ...{ subgroupSize: { min: 32, max: 32 }, matrix: kind === "dawn", features: [] },
    limits: {
      ...{ maxBufferSize: 2 ** 40, maxStorageBufferBindingSize: 2 ** 31 - 4, maxComputeWorkgroupStorageSize: 49152 },
      ...{ maxComputeInvocationsPerWorkgroup: 1024, maxComputeWorkgroupSizeX: 1024 },
      ...{ maxComputeWorkgroupsPerDimension: 65535, maxStorageBuffersPerShaderStage: 10 },
    },
  };
  return { kind, about, reason: "asked for, though it is not here" };
}
