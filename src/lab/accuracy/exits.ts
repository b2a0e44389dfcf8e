import { confidence } from '../../run/executor/sampling.ts'
import type { ReferencePass } from './boundaryLoss.ts'
import type { LayerwiseModel } from './layerwiseModel.ts'
import { rowDivergences, rowNats, LossAccumulator } from './lossAccumulator.ts'
import type { ExitQuality } from './types.ts'

interface Counts {
  leaving: number
  readonly collaborative: LossAccumulator
}

/** Measures one exit at every threshold: how many tokens leave, and their loss. */
export class ExitMeter {
  private readonly passes: LayerwiseModel
  private readonly layer: number
  private readonly standalone = new LossAccumulator()
  private readonly counts: ReadonlyMap<number, Counts>
  private tokens = 0

  constructor(passes: LayerwiseModel, layer: number, thresholds: readonly number[]) {
    this.passes = passes
    this.layer = layer
    this.counts = new Map(
      thresholds.map((theta) => [theta, { leaving: 0, collaborative: new LossAccumulator() }]),
    )
  }

  async add(exact: ReferencePass): Promise<void> {
    const { vocabulary } = this.passes.model
    const logits = await this.passes.exit(this.layer, exact.before[this.layer])
    const nats = rowNats(logits, vocabulary, exact.targets)
    const divergences = rowDivergences(exact.logits, logits, vocabulary)
    for (let row = 0; row < nats.length; row++) {
      const sure = confidence(logits.subarray(row * vocabulary, (row + 1) * vocabulary))
      this.addToken(sure, nats[row] - exact.nats[row], divergences[row])
    }
  }

  private addToken(sure: number, nats: number, divergence: number): void {
    this.tokens++
    this.standalone.add(nats, divergence)
    for (const [threshold, counts] of this.counts) {
      const leaves = sure >= threshold
      if (leaves) counts.leaving++
      counts.collaborative.add(leaves ? nats : 0, leaves ? divergence : 0)
    }
  }

  qualities(): ExitQuality[] {
    return [...this.counts].map(([threshold, { leaving, collaborative }]) => ({
      layer: this.layer,
      threshold,
      leaving,
      leaveShare: leaving / this.tokens,
      standalone: this.standalone.loss(),
      collaborative: collaborative.loss(),
    }))
  }
}
