import type { Connection, Frame } from '../wire/types.ts'

/** Says something to a peer that may be gone: then nobody is left to hear it. */
export function sendIfOpen(connection: Connection, ...frames: readonly Frame[]): void {
  try {
    connection.send(...frames)
  } catch {
    // Closed meanwhile; whoever waits for an answer hears of it from the connection.
  }
}
