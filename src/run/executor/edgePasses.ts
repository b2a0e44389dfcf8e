import type { ExecutionEvent } from './types.ts'

/** Engine time on the edge for one pass through the layers, summed over its runs. */
export interface EdgePass {
  /** Position of the pass's first token. */
  readonly position: number
  readonly rows: number
  readonly seconds: number
}

/** Sums the edge's runs of each pass. */
export class EdgePassMeter {
  readonly wanted: boolean
  private readonly onPass: (pass: EdgePass) => void
  private pass: EdgePass | null = null

  constructor(onPass: ((pass: EdgePass) => void) | undefined) {
    this.wanted = onPass !== undefined
    this.onPass = onPass ?? (() => {})
  }

  take({ kind, position, tokens, startSeconds, endSeconds }: ExecutionEvent): void {
    if (!this.wanted || kind !== 'compute') return
    // Before the lm_head a pass is reduced to its last row.
    const { pass } = this
    const seconds = (pass?.seconds ?? 0) + endSeconds - startSeconds
    this.pass = { position: pass?.position ?? position, rows: pass?.rows ?? tokens, seconds }
  }

  /** The pass's token was delivered. */
  end(): void {
    if (this.pass !== null) this.onPass(this.pass)
    this.pass = null
  }

  drop(): void {
    this.pass = null
  }
}
