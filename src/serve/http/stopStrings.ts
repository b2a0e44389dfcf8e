/**
 * Cuts a text that comes in pieces before the first stop sequence, wherever the pieces part. What might be the
 * beginning of one is held back until it is known.
 */
export class StopStringScanner {
  private held = ''
  private stopped = false
  private readonly stops: readonly string[]

  /** `stops`: none of them empty. */
  constructor(stops: readonly string[]) {
    this.stops = stops
  }

  /** Whether a stop sequence has come: all text after it is dropped. */
  get done(): boolean {
    return this.stopped
  }

  /** The text that may be shown by now and was not before. */
  push(piece: string): string {
    if (this.stopped) return ''
    const text = this.held + piece
    const cut = this.firstStop(text)
    this.stopped = cut !== null
    const shown = text.slice(0, cut ?? text.length - this.beginning(text))
    this.held = this.stopped ? '' : text.slice(shown.length)
    return shown
  }

  /** The text that was held back: no stop sequence came of it. */
  end(): string {
    const rest = this.held
    this.held = ''
    return rest
  }

  /** Where the sequence begins that is complete first; of several that end there, the longest. */
  private firstStop(text: string): number | null {
    let first: { start: number; end: number } | null = null
    for (const stop of this.stops) {
      const start = text.indexOf(stop)
      const end = start + stop.length
      if (start < 0 || (first !== null && end > first.end)) continue
      if (first === null || end < first.end || start < first.start) first = { start, end }
    }
    return first?.start ?? null
  }

  /** Length of the longest end of `text` with which a stop sequence begins. */
  private beginning(text: string): number {
    let longest = 0
    for (const stop of this.stops) {
      for (let n = Math.min(stop.length - 1, text.length); n > longest; n--) {
        if (text.endsWith(stop.slice(0, n))) longest = n
      }
    }
    return longest
  }
}
