/** The kernels' texts by file name: imported, so that they travel inside the one-file program. */
import castSource from "../../kernels/cast.wgsl" with { type: "text" };

export const sources: Record<string, string> = {
  cast: castSource,
};
