"""No pages: the shop has only work to do."""

urlpatterns: list[object] = []
