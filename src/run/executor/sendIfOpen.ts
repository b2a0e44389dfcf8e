import type { Connection, Frame } from '../wire/types.ts'

/** Sends to a peer that may be gone; then the frames are dropped. */
export function sendIfOpen(connection: Connection, ...frames: readonly Frame[]): void {
  try {
    connection.send(...frames)
  } catch {
    // The connection closed; a waiter for an answer learns that from the connection.
  }
}
