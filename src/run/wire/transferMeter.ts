import type { Transfer } from './types.ts'

/** Smaller frames say too little of a rate. */
export const MIN_TRANSFER_BYTES = 4 * 1024

/** When the frame under way began to arrive, and what of it came at once. */
export class TransferMeter {
  private startSeconds = 0
  private firstBytes = 0
  private readonly listeners: ((transfer: Transfer) => void)[] = []

  /**
   * After a chunk: `insideBytes` of a frame are here that is not complete. `continues`: it began in an earlier
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

  /** A frame that began in an earlier chunk is complete. */
  complete(frameBytes: number, endSeconds: number): void {
    if (frameBytes < MIN_TRANSFER_BYTES) return
    const transfer = { bytes: frameBytes - this.firstBytes, startSeconds: this.startSeconds, endSeconds }
    for (const listener of this.listeners) listener(transfer)
  }
}
