import { confidence } from '../execute/sampling.ts'
import type { ExactPass } from './crossings.ts'
import type { Passes } from './passes.ts'
import { Tally } from './tally.ts'
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

  async add({ before, targets, nats }: ExactPass): Promise<void> {
    const sure = new Float64Array(targets.length)
    const own = await this.passes.exitNats(this.layer, before[this.layer], targets, (row, logits) => {
      sure[row] = confidence(logits)
    })
    this.standalone.addDifferences(own, nats)
    this.tokens += targets.length
    for (const [theta, counts] of this.counts) {
      for (let row = 0; row < targets.length; row++) {
        const leaves = sure[row] >= theta
        if (leaves) counts.leaving++
        counts.collaborative.add(leaves ? own[row] - nats[row] : 0)
      }
    }
  }

  qualities(): ExitQuality[] {
    return [...this.counts].map(([threshold, { leaving, collaborative }]) => ({
      ...{ layer: this.layer, threshold, leaving, leaveShare: leaving / this.tokens },
      ...{ standalone: this.standalone.loss(), collaborative: collaborative.loss() },
    }))
  }
}
