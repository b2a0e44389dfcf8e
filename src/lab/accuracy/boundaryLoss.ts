import { decodeBoundary, encodeBoundary } from '../../run/executor/boundary.ts'
import { attentionUnits } from '../../model/spec.ts'
import type { BoundaryBits } from '../../plan/plan.ts'
import type { LayerwiseModel } from './layerwiseModel.ts'
import { rowDivergences, rowNats, LossAccumulator } from './lossAccumulator.ts'
import type { BoundaryLoss, UnitSensitivity } from './types.ts'
import type { Window } from './windows.ts'

/** A unit's sensitivity is the divergence when its share is sent with this many bits. */
export const UNIT_BITS = 4

/** What the other side receives of x [rows, width]: exactly the effect of the runtime's messages. */
function fakeQuantize(x: Float32Array, width: number, bits: BoundaryBits): Float32Array {
  const rows = x.length / width
  return decodeBoundary(encodeBoundary(x, rows, bits), rows, width, bits)
}

/** One window without quantisation: the residual before each layer and before the lm_head, and the predictions. */
export interface ReferencePass {
  readonly window: Window
  readonly targets: readonly number[]
  /** [layers + 1] of float32 [tokens, width]. */
  readonly before: readonly Float32Array[]
  /** The residual between a layer's attention and its FFN, [layers]. */
  readonly between: readonly Float32Array[]
  /** [tokens, vocabulary]. */
  readonly logits: Float32Array
  /** Negative log-probabilities of the targets, [tokens]. */
  readonly nats: Float64Array
}

/** Runs a window without quantisation. */
export async function referencePass(passes: LayerwiseModel, window: Window): Promise<ReferencePass> {
  const targets = window.slice(1)
  const before = [await passes.embed(window.slice(0, -1))]
  const between: Float32Array[] = []
  for (let layer = 0; layer < passes.model.layers; layer++) {
    between.push(await passes.attention(layer, before[layer]))
    before.push(await passes.ffn(layer, between[layer]))
  }
  const { layers, vocabulary } = passes.model
  const logits = await passes.head(before[layers])
  return { window, targets, before, between, logits, nats: rowNats(logits, vocabulary, targets) }
}

/** Adds the loss of other logits [tokens, vocabulary] of the same window, relative to the reference pass. */
export function addLosses(tally: LossAccumulator, exact: ReferencePass, logits: Float32Array): void {
  const vocabulary = logits.length / exact.targets.length
  const nats = rowNats(logits, vocabulary, exact.targets)
  const divergences = rowDivergences(exact.logits, logits, vocabulary)
  for (let row = 0; row < nats.length; row++) tally.add(nats[row] - exact.nats[row], divergences[row])
}

/** Measures every boundary alone, and half of every attention alone, over the given windows. */
export class BoundaryLossMeter {
  private readonly passes: LayerwiseModel
  private readonly bits: readonly BoundaryBits[]
  private readonly boundaries = new Map<string, LossAccumulator>()
  private readonly partials = new Map<string, LossAccumulator>()
  private readonly units = new Map<string, LossAccumulator>()

  constructor(passes: LayerwiseModel, bits: readonly BoundaryBits[]) {
    this.passes = passes
    this.bits = bits
  }

  /** Quantises the residual where it enters `layer` (`model.layers`: before the lm_head). */
  async boundary(exact: ReferencePass, layer: number): Promise<void> {
    const { passes } = this
    for (const bits of this.bits) {
      const x = await passes.layersFrom(layer, fakeQuantize(exact.before[layer], passes.model.width, bits))
      await this.score(this.boundaries, `${layer} ${bits}`, exact, x)
    }
  }

  /** Computes the first half of a layer's units on the other side and quantises the share that comes back. */
  async partial(exact: ReferencePass, layer: number): Promise<void> {
    const half = Math.ceil(attentionUnits(this.passes.model) / 2)
    const units = Array.from({ length: half }, (_, unit) => unit)
    for (const bits of this.bits)
      await this.share(exact, layer, units, bits, this.partials, `${layer} ${bits}`)
  }

  /** Quantises each unit's share alone. */
  async everyUnit(exact: ReferencePass, layer: number): Promise<void> {
    for (let unit = 0; unit < attentionUnits(this.passes.model); unit++)
      await this.share(exact, layer, [unit], UNIT_BITS, this.units, `${layer} ${unit}`)
  }

  boundaryLosses(): BoundaryLoss[] {
    return this.crossings(this.boundaries, this.passes.model.layers + 1)
  }

  partialLosses(): BoundaryLoss[] {
    return this.crossings(this.partials, this.passes.model.layers)
  }

  unitSensitivities(): UnitSensitivity[] {
    return [...this.units].map(([key, tally]) => {
      const [layer, unit] = key.split(' ').map(Number)
      return { layer, unit, ...tally.loss() }
    })
  }

  private crossings(tallies: ReadonlyMap<string, LossAccumulator>, places: number): BoundaryLoss[] {
    return this.bits.flatMap((bits) =>
      Array.from({ length: places }, (_, layer) => ({
        layer,
        bits,
        ...tallies.get(`${layer} ${bits}`)!.loss(),
      })),
    )
  }

  /** Sum of an attention with one share as received: the reference sum plus what the message changed. */
  private async share(
    exact: ReferencePass,
    layer: number,
    units: readonly number[],
    bits: BoundaryBits,
    into: Map<string, LossAccumulator>,
    key: string,
  ): Promise<void> {
    const { passes } = this
    const share = await passes.share(layer, units, exact.before[layer])
    const arrived = fakeQuantize(share, passes.model.width, bits)
    const sum = exact.between[layer].map((value, i) => value + (arrived[i] - share[i]))
    const x = await passes.layersFrom(layer + 1, await passes.ffn(layer, sum))
    await this.score(into, key, exact, x)
  }

  private async score(
    tallies: Map<string, LossAccumulator>,
    key: string,
    exact: ReferencePass,
    x: Float32Array,
  ): Promise<void> {
    const tally = tallies.get(key) ?? new LossAccumulator()
    tallies.set(key, tally)
    addLosses(tally, exact, await this.passes.head(x))
  }
}

/** Logits [tokens, vocabulary] when the residual crosses every boundary l at bits[l]; 32 changes nothing. */
export async function logitsThrough(
  passes: LayerwiseModel,
  window: Window,
  bits: readonly BoundaryBits[],
): Promise<Float32Array> {
  const { layers, width } = passes.model
  let x = await passes.embed(window.slice(0, -1))
  for (let layer = 0; layer < layers; layer++)
    x = await passes.ffn(layer, await passes.attention(layer, fakeQuantize(x, width, bits[layer])))
  return passes.head(fakeQuantize(x, width, bits[layers]))
}
