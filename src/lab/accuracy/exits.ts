import { confidence } from '../../run/executor/sampling.ts'
import type { ExactPass } from './crossings.ts'
import type { Passes } from './passes.ts'
import { rowDivergences, rowNats, Tally } from './tally.ts'
import type { ExitQuality } from './types.ts'

interface Counts {
  leaving: number
  readonly collaborative: Tally
}

/** One exit at every threshold: who leaves, and what it costs them. */
export class ExitMeter {
  private readonly passes: Passes
  private readonly layer: number
  private readonly standalone = new Tally()
  private readonly counts: ReadonlyMap<number, Counts>
  private tokens = 0

  constructor(passes: Passes, layer: number, thresholds: readonly number[]) {
    this.passes = passes
    this.layer = layer
    this.counts = new Map(thresholds.map((theta) => [theta, { leaving: 0, collaborative: new Tally() }]))
  }

  async add(exact: ExactPass): Promise<void> {
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
      ...{ layer: this.layer, threshold, leaving, leaveShare: leaving / this.tokens },
      ...{ standalone: this.standalone.loss(), collaborative: collaborative.loss() },
    }))
  }
}
