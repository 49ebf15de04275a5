// A module in C++, for test_modules.py: the header is C++ too, and what throws
// stays inside.
#include <hcs/handler.h>
#include <hcs/json.h>

#include <new>
#include <string>

namespace {

struct Greeter {
    std::string greeting;
};

int open_greeter(void **self, hcs_mount *mount)
{
    const char *greeting = "hello";

    if (!hcs_mount_text(mount, "greeting", &greeting)) {
        return -1;
    }
    try {
        *self = new Greeter{greeting};
    } catch (const std::bad_alloc &) {
        return -1;
    }
    return 0;
}

hcs_outcome run(void *self, hcs_job *job)
{
    const Greeter *greeter = static_cast<const Greeter *>(self);

    try {
        std::string text = greeter->greeting + " from C++";

        return hcs_job_write_string(job, text.data(), text.size())
            ? HCS_OK
            : HCS_NO_MEMORY;
    } catch (const std::bad_alloc &) {
        return HCS_NO_MEMORY;
    }
}

void close_greeter(void *self)
{
    delete static_cast<Greeter *>(self);
}

hcs_handler make_handler()
{
    hcs_handler handler = {};

    handler.abi = HCS_HANDLER_ABI;
    handler.size = sizeof(handler);
    handler.name = "greeter";
    handler.open = open_greeter;
    handler.run = run;
    handler.close = close_greeter;
    return handler;
}

} // namespace

const hcs_handler hcs_module = make_handler();
