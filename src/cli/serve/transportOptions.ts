import type { Command } from 'commander'
import type { Clock } from '../../core/clock.ts'
import { readSecretText } from '../../core/files.ts'
import { readTlsMaterial } from '../../core/trust/material.ts'
import type { TransportOptions } from '../../run/executor/connectToCloud.ts'

/** Flags that say how a side reaches the other one: `edge` and `cloud` share them. */
export interface TransportFlags {
  readonly tls?: string
  readonly webSocket?: string
  readonly token?: string
}

const MAX_TOKEN_BYTES = 4096

/** Declares the flags of the connection between edge and cloud. */
export function addTransportOptions(command: Command): void {
  command
    .option(
      '--tls <folder>',
      'certificate of this side (`edgewise keys device`): TLS 1.3, both sides show theirs',
    )
    .option('--web-socket <path>', 'travel as WebSocket messages on this path, e.g. behind a proxy')
    .option('--token <file>', 'file with the token that the WebSocket asks for')
}

/** Reads the files that the flags name. Throws InputError. */
export function readTransportOptions(
  { tls, webSocket, token }: TransportFlags,
  { clock }: { readonly clock: Clock },
): TransportOptions {
  const secret =
    token === undefined ? {} : { token: readSecretText(token, MAX_TOKEN_BYTES, 'a token').trim() }
  return {
    ...(tls === undefined ? {} : { tls: readTlsMaterial(tls, clock) }),
    ...(webSocket === undefined ? {} : { webSocket: { path: webSocket, ...secret } }),
  }
}
