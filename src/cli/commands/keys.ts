import type { CliGroup } from '../command.ts'

/** `edgewise keys ...`: a small authority, and what it issues. */
export const keys: CliGroup = {
  name: 'keys',
  summary: 'make an authority, keys of machines and of signatures; show and revoke them',
  entries: [
    {
      name: 'init',
      summary: 'make an authority and a signing key',
      load: async () => (await import('./keys/init.ts')).keysInit,
    },
    {
      name: 'device',
      summary: 'make, or renew, the keys of one machine',
      load: async () => (await import('./keys/device.ts')).keysDevice,
    },
    {
      name: 'api',
      summary: 'make a key for an application that uses the API',
      load: async () => (await import('./keys/api.ts')).keysApi,
    },
    {
      name: 'show',
      summary: 'what a folder or file of keys holds, and for how long',
      load: async () => (await import('./keys/show.ts')).keysShow,
    },
    {
      name: 'revoke',
      summary: 'refuse the certificates of a machine from now on',
      load: async () => (await import('./keys/revoke.ts')).keysRevoke,
    },
    {
      name: 'retire',
      summary: 'end a rotation: trust only the new authority',
      load: async () => (await import('./keys/retire.ts')).keysRetire,
    },
  ],
}
