import type { ExecutionEvent } from './types.ts'

/** What the edge's engine took for one pass through the layers: all its runs together. */
export interface EdgePass {
  /** Of the pass's first token. */
  readonly position: number
  readonly rows: number
  readonly seconds: number
}

/** Adds up the edge's runs of each pass. */
export class EdgePassMeter {
  readonly wanted: boolean
  private readonly tell: (pass: EdgePass) => void
  private pass: EdgePass | null = null

  constructor(tell: ((pass: EdgePass) => void) | undefined) {
    this.wanted = tell !== undefined
    this.tell = tell ?? (() => {})
  }

  take({ kind, position, tokens, startSeconds, endSeconds }: ExecutionEvent): void {
    if (!this.wanted || kind !== 'compute') return
    // Towards the head a pass is about its last row alone.
    const { pass } = this
    const seconds = (pass?.seconds ?? 0) + endSeconds - startSeconds
    this.pass = { position: pass?.position ?? position, rows: pass?.rows ?? tokens, seconds }
  }

  /** The pass's token is there. */
  end(): void {
    if (this.pass !== null) this.tell(this.pass)
    this.pass = null
  }

  drop(): void {
    this.pass = null
  }
}
