/** What one relaxation fills. */
interface Relaxed {
  readonly toGo: Float64Array
  readonly least: Float64Array
  readonly choice: Int32Array
}

/** What one path fills. */
interface Steps {
  readonly choices: Int32Array
  readonly sides: Uint8Array
}

/** Buffers that are kept; a question that needs more gets fresh ones. */
const MOST = 512

/**
 * Buffers of relaxations and paths, taken anew by each question: a device that decides often would spend much of its time
 * on collecting them. Their contents are those of the question before until they are filled.
 */
export class Pool {
  readonly layers: number
  readonly kinds: number
  private readonly relaxed: Relaxed[] = []
  private readonly steps: Steps[] = []
  private usedRelaxed = 0
  private usedSteps = 0

  constructor(layers: number, kinds: number) {
    this.layers = layers
    this.kinds = kinds
  }

  /** All buffers are free again. */
  reset(): void {
    this.usedRelaxed = 0
    this.usedSteps = 0
  }

  takeRelaxed(nodes: number): Relaxed {
    const at = this.usedRelaxed++
    if (at < this.relaxed.length) return this.relaxed[at]
    const fresh = {
      toGo: new Float64Array(nodes * (this.layers + 1)),
      least: new Float64Array(4 * this.kinds),
      choice: new Int32Array(4 * this.kinds),
    }
    if (at < MOST) this.relaxed.push(fresh)
    return fresh
  }

  takeSteps(): Steps {
    const at = this.usedSteps++
    if (at < this.steps.length) return this.steps[at]
    const fresh = { choices: new Int32Array(this.layers), sides: new Uint8Array(this.layers + 1) }
    if (at < MOST) this.steps.push(fresh)
    return fresh
  }
}
