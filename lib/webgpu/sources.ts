/** The kernels' texts by file name: imported, so that they travel inside the one-file program. */
import castSource from "../../kernels/cast.wgsl" with { type: "text" };
import binarySource from "../../kernels/binary.wgsl" with { type: "text" };
import scaleSource from "../../kernels/scale.wgsl" with { type: "text" };
import fillSource from "../../kernels/fill.wgsl" with { type: "text" };
import addInPlaceSource from "../../kernels/add_in_place.wgsl" with { type: "text" };
import packRowsSource from "../../kernels/pack_rows.wgsl" with { type: "text" };
import unpackRowsSource from "../../kernels/unpack_rows.wgsl" with { type: "text" };
import sumRowsSource from "../../kernels/sum_rows.wgsl" with { type: "text" };
import gatherRowsSource from "../../kernels/gather_rows.wgsl" with { type: "text" };
import scatterRowsSource from "../../kernels/scatter_rows.wgsl" with { type: "text" };
import dropoutMaskSource from "../../kernels/dropout_mask.wgsl" with { type: "text" };
import windowSource from "../../kernels/window.wgsl" with { type: "text" };
import rmsNormSource from "../../kernels/rms_norm.wgsl" with { type: "text" };
import rmsNormBackwardSource from "../../kernels/rms_norm_backward.wgsl" with { type: "text" };
import rowNormSource from "../../kernels/row_norm.wgsl" with { type: "text" };
import attentionSource from "../../kernels/attention.wgsl" with { type: "text" };
import attentionMatrixSource from "../../kernels/attention_matrix.wgsl" with { type: "text" };
import attentionBackwardDqMatrixSource from "../../kernels/attention_backward_dq_matrix.wgsl" with { type: "text" };
import attentionBackwardDkdvMatrixSource from "../../kernels/attention_backward_dkdv_matrix.wgsl" with { type: "text" };
import attentionDeltaSource from "../../kernels/attention_delta.wgsl" with { type: "text" };
import attentionBackwardDqSource from "../../kernels/attention_backward_dq.wgsl" with { type: "text" };
import attentionBackwardDkdvSource from "../../kernels/attention_backward_dkdv.wgsl" with { type: "text" };
import attentionCachedSource from "../../kernels/attention_cached.wgsl" with { type: "text" };
import attentionCachedCombineSource from "../../kernels/attention_cached_combine.wgsl" with { type: "text" };
import nf4DequantizeSource from "../../kernels/nf4_dequantize.wgsl" with { type: "text" };
import gemvSource from "../../kernels/gemv.wgsl" with { type: "text" };
import gemmNf4MatrixSource from "../../kernels/gemm_nf4_matrix.wgsl" with { type: "text" };
import gemvNf4Source from "../../kernels/gemv_nf4.wgsl" with { type: "text" };
import gemmSource from "../../kernels/gemm.wgsl" with { type: "text" };
import gemmLargeSource from "../../kernels/gemm_large.wgsl" with { type: "text" };
import gemmMatrixSource from "../../kernels/gemm_matrix.wgsl" with { type: "text" };
import gemmThinMatrixSource from "../../kernels/gemm_thin_matrix.wgsl" with { type: "text" };
import gemmTokensMatrixSource from "../../kernels/gemm_tokens_matrix.wgsl" with { type: "text" };
import gemmThinSource from "../../kernels/gemm_thin.wgsl" with { type: "text" };
import ropeSource from "../../kernels/rope.wgsl" with { type: "text" };
import ropeStoreInPlaceSource from "../../kernels/rope_store_in_place.wgsl" with { type: "text" };
import gatedSource from "../../kernels/gated.wgsl" with { type: "text" };
import gatedBackwardInPlaceSource from "../../kernels/gated_backward_in_place.wgsl" with { type: "text" };
import softmaxLossSource from "../../kernels/softmax_loss.wgsl" with { type: "text" };
import softmaxGradientSource from "../../kernels/softmax_gradient.wgsl" with { type: "text" };
import quantizeNf4Source from "../../kernels/quantize_nf4.wgsl" with { type: "text" };
import sampleSource from "../../kernels/sample.wgsl" with { type: "text" };
import gradientNormSource from "../../kernels/gradient_norm.wgsl" with { type: "text" };
import optimizerControlSource from "../../kernels/optimizer_control.wgsl" with { type: "text" };
import adamwSource from "../../kernels/adamw.wgsl" with { type: "text" };
import adamw8bitSource from "../../kernels/adamw_8bit.wgsl" with { type: "text" };

export const sources: Record<string, string> = {
  cast: castSource,
  binary: binarySource,
  scale: scaleSource,
  fill: fillSource,
  add_in_place: addInPlaceSource,
  pack_rows: packRowsSource,
  unpack_rows: unpackRowsSource,
  sum_rows: sumRowsSource,
  gather_rows: gatherRowsSource,
  scatter_rows: scatterRowsSource,
  dropout_mask: dropoutMaskSource,
  window: windowSource,
  rms_norm: rmsNormSource,
  rms_norm_backward: rmsNormBackwardSource,
  row_norm: rowNormSource,
  attention: attentionSource,
  attention_matrix: attentionMatrixSource,
  attention_backward_dq_matrix: attentionBackwardDqMatrixSource,
  attention_backward_dkdv_matrix: attentionBackwardDkdvMatrixSource,
  attention_delta: attentionDeltaSource,
  attention_backward_dq: attentionBackwardDqSource,
  attention_backward_dkdv: attentionBackwardDkdvSource,
  attention_cached: attentionCachedSource,
  attention_cached_combine: attentionCachedCombineSource,
  nf4_dequantize: nf4DequantizeSource,
  gemv: gemvSource,
  gemm_nf4_matrix: gemmNf4MatrixSource,
  gemv_nf4: gemvNf4Source,
  gemm: gemmSource,
  gemm_large: gemmLargeSource,
  gemm_matrix: gemmMatrixSource,
  gemm_thin: gemmThinSource,
  gemm_thin_matrix: gemmThinMatrixSource,
  gemm_tokens_matrix: gemmTokensMatrixSource,
  rope: ropeSource,
  rope_store_in_place: ropeStoreInPlaceSource,
  gated: gatedSource,
  gated_backward_in_place: gatedBackwardInPlaceSource,
  softmax_loss: softmaxLossSource,
  softmax_gradient: softmaxGradientSource,
  quantize_nf4: quantizeNf4Source,
  sample: sampleSource,
  gradient_norm: gradientNormSource,
  optimizer_control: optimizerControlSource,
  adamw: adamwSource,
  adamw_8bit: adamw8bitSource,
};
