import type { Transfer } from './types.ts'

/** Smaller frames do not measure a rate. */
const MIN_TRANSFER_BYTES = 4 * 1024

/** Measures the arrival of the current frame: when it began, and how many of its bytes came in the first chunk. */
export class TransferMeter {
  private startSeconds = 0
  private firstBytes = 0
  private readonly listeners: ((transfer: Transfer) => void)[] = []

  /**
   * Called after a chunk: `insideBytes` of an incomplete frame have arrived. `continues`: the frame began in an earlier
   * chunk.
   */
  mark(insideBytes: number, continues: boolean, nowSeconds: number): void {
    if (continues) return
    this.startSeconds = nowSeconds
    this.firstBytes = insideBytes
  }

  onTransfer(listener: (transfer: Transfer) => void): void {
    this.listeners.push(listener)
  }

  /** Called when a frame that began in an earlier chunk is complete. */
  complete(frameBytes: number, endSeconds: number): void {
    if (frameBytes < MIN_TRANSFER_BYTES) return
    const transfer = { bytes: frameBytes - this.firstBytes, startSeconds: this.startSeconds, endSeconds }
    for (const listener of this.listeners) listener(transfer)
  }
}
