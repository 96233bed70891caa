import { accountLogin, saysLogin, withSecondFactor } from '../login.js';
import type { LoginOptions } from '../options.js';
import type { Define } from '../program.js';
import { confirm } from '../prompt.js';

export const define: Define = (command, { act }) => {
  command
    .argument('<name>')
    .option('--purge', 'delete the files, the private key included, instead of moving them')
    .loginOptions()
    .examples('remove old-bot', 'remove old-bot --purge --yes', 'remove old-bot --as admin')
    .action(
      act(async (cx, name: string, flags: LoginOptions & { purge?: true }) => {
        const { removeKey } = await import('../../workflows/remove.js');
        const record = await cx.store.read(name);
        const login = saysLogin(cx, flags) ? await accountLogin(cx, flags, record) : null;
        const purge = flags.purge === true;
        const workflow = await withSecondFactor(cx, flags);
        const { folder, linkedFile } = await removeKey(workflow, name, {
          purge,
          login,
          confirm: async (linkedFile) => {
            const what = linkedFile === null ? `the private key "${name}"` : `the link "${name}" to a private key`;
            if (purge) await confirm(cx.host, cx.options.yes === true, `Delete ${what} for good?`);
          },
        });
        cx.out.result({ name, purged: purge, folder, linkedFile }, () =>
          folder === null ? `${name}: deleted` : `${name}: moved to ${folder}`,
        );
        if (linkedFile !== null) cx.out.note(`${linkedFile} was not changed: the keystore held only a link to it`);
      }),
    );
};
