import { readdirSync, readFileSync } from 'node:fs'

const ROOT = new URL('../../', import.meta.url)

/** Source files, as paths from the repository, whose text matches; those in folders `but` are not looked at. */
export function sourcesThatSay(pattern: RegExp, but: readonly string[] = []): string[] {
  return ['src', 'envs']
    .flatMap((folder) =>
      readdirSync(new URL(folder, ROOT), { recursive: true, encoding: 'utf8' }).map(
        (file) => `${folder}/${file.replaceAll('\\', '/')}`,
      ),
    )
    .filter((file) => file.endsWith('.ts') && !but.some((folder) => file.startsWith(`${folder}/`)))
    .filter((file) => pattern.test(readFileSync(new URL(file, ROOT), 'utf8')))
    .sort()
}
