/**
 * Figures as PNG, for documents and slides that take no SVG: drawn by resvg (WebAssembly) with a font of its own, so that a
 * figure looks alike on every machine. The font has Latin, Greek and Cyrillic letters; others are in the SVG alone.
 */
import font from "@expo-google-fonts/roboto/400Regular/Roboto_400Regular.ttf" with { type: "bytes" };
import { initWasm, Resvg } from "@resvg/resvg-wasm";
import program from "@resvg/resvg-wasm/index_bg.wasm" with { type: "bytes" };

/** Pixels for each of the picture's own: sharp in print at its usual size. */
const zoom = 3;

let ready: Promise<void> | undefined;

/** `svg` is a picture of its own, without CSS variables. */
export async function pngOf(svg: string): Promise<Uint8Array> {
  await (ready ??= initWasm(program));
  const picture = new Resvg(svg, {
    fitTo: { mode: "zoom", value: zoom },
    font: { fontBuffers: [font], defaultFontFamily: "Roboto" },
  });
  try {
    const drawn = picture.render();
    try {
      return drawn.asPng();
    } finally {
      drawn.free();
    }
  } finally {
    picture.free();
  }
}
